// What the network says of the picture on the screen, once that picture rests: while a trajectory
// runs, asking at every step would take the time that the steps need. Of the picture that the
// sentence names it is known already.
import { effect, signal } from "@preact/signals";
import { call, reach } from "../api/client";
import type { Frame, Prediction } from "../api/types";
import { floats } from "../pictures/decode";
import { place } from "../sentence/words";
import { pictured } from "./pictured";
import { shown } from "./shown";
import { network } from "./studio";

/** How long a picture has to stay before it counts as looked at. */
export const REST = 350;

/** Asked: a picture, by its name, of a network, by its name. */
export interface Looked {
  network: string;
  picture: string;
}

export interface Present extends Looked {
  probabilities: Float32Array;
  winner: number;
  frame: Frame;
}

/** The answer to the picture on the screen; of an earlier one until it is there. */
export const present = signal<Present | null>(null);
/** Why there is none, in one sentence. */
export const presentTrouble = signal<string | null>(null);

let timer: ReturnType<typeof setTimeout> | undefined;

effect(() => {
  const picture = shown.value;
  const name = network.value?.name;
  const known = pictured.value;
  clearTimeout(timer);
  if (name === undefined || reach.value.is !== "there") return;
  if (present.peek()?.network !== name) present.value = null;
  if (known !== null && known.network === name && known.picture === picture) {
    present.value = known;
    presentTrouble.value = null;
  } else if (picture.startsWith("step:")) {
    timer = setTimeout(() => void ask({ network: name, picture }), REST);
  }
});

async function ask(asked: Looked): Promise<void> {
  const meant = () => shown.peek() === asked.picture && network.peek()?.name === asked.network;
  try {
    const answer = await call<Prediction>("POST", "api/predictions", asked);
    if (!meant()) return;
    presentTrouble.value = null;
    present.value = { ...asked, ...answer, probabilities: floats(answer.probabilities) };
  } catch (problem) {
    if (meant()) presentTrouble.value = (problem as Error).message;
  }
}

/** A picture's name in words: which step, which picture of which data. */
export function spoken(picture: string): string {
  if (picture.startsWith("step:")) return `step ${picture.slice(picture.lastIndexOf(":") + 1)}`;
  if (picture.startsWith("kept:")) return "the picture that you brought";
  return `picture ${place(picture)}`;
}
