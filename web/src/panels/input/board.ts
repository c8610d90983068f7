// What is drawn on: the picture as the network receives it, live answers while it changes, and the
// picture of the sentence once the pen rests.
import { effect, signal } from "@preact/signals";
import { call, reach, type Refusal } from "../../api/client";
import type { NetworkInfo, Prediction } from "../../api/types";
import { floats, valuesOf } from "../../pictures/decode";
import { asPixels, type Drawn, keepDrawing } from "../../state/drawn";
import { pictured, picturedTrouble } from "../../state/pictured";
import { picture } from "../../state/sentence";
import { network } from "../../state/studio";
import { Drawing } from "./drawing";
import { latest } from "./latest";

/** How long the pen has to rest before the drawing becomes the picture of the sentence. */
const REST = 600;

export const board = signal<Drawing | null>(null);
/** Counts the changes of the board, so that it is painted again. */
export const changed = signal(0);
/** What the network says of the board while it differs from the sentence's picture. */
export const live = signal<{ probabilities: Float32Array; winner: number } | null>(null);
export const boardTrouble = signal<Refusal | null>(null);

/** The picture that the board shows, so that its own drawings do not replace it. */
let showing = "";
let own = false;
let resting: ReturnType<typeof setTimeout> | undefined;

const answers = latest<{ name: string; drawn: Drawn }>(async ({ name, drawn }) => {
  try {
    const asked = { network: name, pixels: asPixels(drawn) };
    const told = await call<Prediction>("POST", "api/predictions", asked);
    boardTrouble.value = null;
    live.value = { probabilities: floats(told.probabilities), winner: told.winner };
  } catch (problem) {
    boardTrouble.value = problem as Refusal;
  }
});

// What a silent server was not asked it is asked once it answers.
effect(() => {
  if (reach.value.is === "there" && boardTrouble.peek()?.status === 0) drew();
});

/** The side of a drawing for a network that takes any size. */
const USUAL_SIDE = 224;

effect(() => {
  const known = pictured.value;
  if (known === null) {
    // There is no picture, and one can be drawn nonetheless.
    const shown = network.value;
    const trouble = picturedTrouble.value;
    if (trouble === null || trouble.status === 0 || shown === null) return;
    const [height, width] = shown.input_size ?? [USUAL_SIDE, USUAL_SIDE];
    const share = Math.min(1, USUAL_SIDE / Math.max(height, width));
    const [rows, columns] = [height, width].map((side) => Math.max(1, Math.round(side * share)));
    board.value = new Drawing(columns ?? 1, rows ?? 1, shown.channels === 1 ? 1 : 3);
    showing = "";
    live.value = null;
    return;
  }
  const mine = `${known.network} ${known.picture}`;
  if (mine === showing) {
    if (resting === undefined) live.value = null;
    return;
  }
  showing = mine;
  own = false;
  clearTimeout(resting);
  resting = undefined;
  const { width, height, channels } = known.frame;
  board.value = new Drawing(width, height, channels, valuesOf(known.frame));
  live.value = null;
});

/** The board is another: ask what the network says of it, and keep it once it rests. */
export function drew(): void {
  const drawn = board.peek();
  const shown = network.peek();
  if (drawn === null || shown === null) return;
  changed.value = changed.peek() + 1;
  const { width, height, channels } = drawn;
  const now = { width, height, channels, values: drawn.values.slice() };
  answers.ask({ name: shown.name, drawn: now });
  clearTimeout(resting);
  resting = setTimeout(() => void settle(shown, now), REST);
}

/** The pen is on the paper: what is there is not kept yet. */
export function holds(): void {
  clearTimeout(resting);
}

async function settle(shown: NetworkInfo, drawn: Drawn): Promise<void> {
  resting = undefined;
  try {
    const name = await keepDrawing(shown.name, drawn);
    // A stroke began meanwhile, or another picture was chosen: that one counts.
    if (resting !== undefined || network.peek()?.name !== shown.name) return;
    showing = `${shown.name} ${name}`;
    // Back leads to what was there before one drew, not from stroke to stroke.
    if (own) picture.replace(name);
    else picture.value = name;
    own = true;
  } catch (problem) {
    boardTrouble.value = problem as Refusal;
  }
}
