// What the network says of the sentence's picture, before anything has moved: the sentence calls
// the picture by it, and a morph waits for it.
import { batch, effect, signal } from "@preact/signals";
import { call, reach, Refusal } from "../api/client";
import type { Frame, Prediction, Samples } from "../api/types";
import { floats, valuesOf } from "../pictures/decode";
import { network } from "./studio";

export interface Pictured {
  network: string;
  picture: string;
  /** As the network receives it. */
  frame: Frame;
  probabilities: Float32Array;
  winner: number;
  /** Its class by the data set, where it has one. */
  label: string | null;
  notes: readonly string[];
}

/** The answer of the network; `null` until it is there. */
export const pictured = signal<Pictured | null>(null);
/** Why there is none. */
export const picturedTrouble = signal<Refusal | null>(null);
const again = signal(0);

/** Ask again, though nothing is chosen anew. */
export function askPictureAgain(): void {
  again.value = again.peek() + 1;
}

const labels = new Map<string, string | null>();

/** What samples are called: a strip that lists them has asked already. */
export function rememberLabel(networkName: string, picture: string, label: string | null): void {
  labels.set(`${networkName} ${picture}`, label);
}

/** Ask whenever the picture or the network is another, and again once a silent server answers. */
export function askOfPictures(chosen: { readonly value: string }): void {
  effect(() => {
    if (reach.value.is === "there" && picturedTrouble.peek()?.status === 0) askPictureAgain();
  });
  effect(() => {
    void again.value;
    const picture = chosen.value;
    const name = network.value?.name;
    if (name === undefined || picture === "" || picture.startsWith("draw:")) return;
    void ask(name, picture, () => chosen.value === picture && network.peek()?.name === name);
  });
}

async function ask(name: string, picture: string, meant: () => boolean): Promise<void> {
  try {
    const [told, label] = await Promise.all([
      call<Prediction>("POST", "api/predictions", { network: name, picture }),
      labelOf(name, picture),
    ]);
    if (!meant()) return;
    batch(() => {
      picturedTrouble.value = null;
      pictured.value = {
        ...told,
        network: name,
        picture,
        label,
        probabilities: floats(told.probabilities),
        notes: isEven(told.frame) ? [...told.notes, NOTHING] : told.notes,
      };
    });
  } catch (problem) {
    if (!meant()) return;
    batch(() => {
      picturedTrouble.value = problem as Refusal;
      // What was seen stays while the server is silent.
      if (picturedTrouble.value.status !== 0) pictured.value = null;
    });
  }
}

const NOTHING =
  "There is nothing to see on this picture: what the network says of it says nothing of any class.";

/** Whether all pixels are the same. */
function isEven(frame: Frame): boolean {
  const values = valuesOf(frame);
  return values.every((value, at) => value === values[at % frame.channels]);
}

async function labelOf(name: string, picture: string): Promise<string | null> {
  const known = labels.get(`${name} ${picture}`);
  if (known !== undefined) return known;
  const at = picture.lastIndexOf(":");
  const offset = Number(picture.slice(at + 1));
  if (picture.startsWith("kept:") || !Number.isSafeInteger(offset)) return null;
  const asked = new URLSearchParams({
    data: picture.slice(0, at),
    network: name,
    offset: String(offset),
    count: "1",
  });
  // The prediction says what is wrong with a name, if anything is.
  const found = await call<Samples>("GET", `api/samples?${asked}`).catch(() => null);
  const label = found?.samples[0]?.label ?? null;
  rememberLabel(name, picture, label);
  return label;
}
