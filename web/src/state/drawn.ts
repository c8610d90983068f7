// Drawings travel inside the link: the address spells a kept picture that was drawn as draw:…, which
// whoever opens it turns into a kept picture again. Large ones are kept by the studio alone.
import { batch, effect, signal } from "@preact/signals";
import { call, type Refusal } from "../api/client";
import type { Named } from "../api/types";
import { bytes } from "../pictures/decode";
import type { Choice } from "./choices";
import { network } from "./studio";

export interface Drawn {
  width: number;
  height: number;
  channels: number;
  values: Uint8Array;
}

/** Characters of the longest drawing that an address carries. */
export const MOST_CHARACTERS = 4000;
const MOST_SIDE = 512;
const BEGINNING = "draw:";

/** Why the drawing of a link cannot be shown, in one sentence. */
export const drawnTrouble = signal<string | null>(null);

/** What is drawn in each kept picture. */
const texts = new Map<string, string>();

export function spelled(name: string): string {
  return texts.get(name) ?? name;
}

/** Whether the link of a picture holds wherever it is opened. */
export function travels(name: string): boolean {
  return !name.startsWith("kept:") || texts.has(name);
}

/** Have the studio keep a drawing; the answer is its name. */
export async function keepDrawing(networkName: string, drawn: Drawn): Promise<string> {
  const [named, text] = await Promise.all([
    call<Named>("POST", "api/pictures/kept", { network: networkName, pixels: asPixels(drawn) }),
    toText(drawn),
  ]);
  if (text.length <= MOST_CHARACTERS) texts.set(named.name, text);
  return named.name;
}

/** Whenever a link says a drawing, keep it and go on with its name. */
export function openDrawings(picture: Choice<string>): void {
  effect(() => {
    const text = picture.value;
    const shown = network.value;
    if (!text.startsWith(BEGINNING) || shown === null) return;
    void open(shown.name, text, picture);
  });
}

async function open(networkName: string, text: string, picture: Choice<string>): Promise<void> {
  const meant = () => picture.peek() === text;
  try {
    const name = await keepDrawing(networkName, await fromText(text));
    if (!meant()) return;
    // As it was given: the link goes on to say just that.
    texts.set(name, text);
    batch(() => {
      drawnTrouble.value = null;
      picture.replace(name);
    });
  } catch (problem) {
    if (!meant()) return;
    batch(() => {
      drawnTrouble.value =
        (problem as Refusal).status === undefined
          ? "The drawing of this link is not whole: ask for the link again, or draw below."
          : (problem as Refusal).message;
      picture.forget();
    });
  }
}

const keptAgain = new Set<string>();

/** A drawing that the studio has forgotten is kept once more, as the page knows it. */
export function keepAgain(picture: Choice<string>): void {
  const name = picture.peek();
  const text = texts.get(name);
  if (text === undefined || keptAgain.has(name)) return;
  keptAgain.add(name);
  picture.replace(text);
}

export function asPixels({ width, height, channels, values }: Drawn) {
  return { width, height, channels, pixels: toBase64(values) };
}

/** draw: and, as base64url, two bytes for each side, one for the channels, and deflated values. */
export async function toText({ width, height, channels, values }: Drawn): Promise<string> {
  const head = [width >> 8, width & 255, height >> 8, height & 255, channels];
  const packed = await through(values, new CompressionStream("deflate-raw"), Infinity);
  const text = toBase64(Uint8Array.from([...head, ...packed]));
  return BEGINNING + text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export async function fromText(text: string): Promise<Drawn> {
  const base64 = text.slice(BEGINNING.length).replaceAll("-", "+").replaceAll("_", "/");
  const whole = bytes(base64);
  const [a = 0, b = 0, c = 0, d = 0, channels = 0] = whole;
  const [width, height] = [a * 256 + b, c * 256 + d];
  const count = width * height * channels;
  const fits = width <= MOST_SIDE && height <= MOST_SIDE && (channels === 1 || channels === 3);
  if (!fits || count === 0) throw new Error("no drawing has such sides");
  // It is a stranger's: never more is unpacked than it says.
  const values = await through(whole.slice(5), new DecompressionStream("deflate-raw"), count);
  if (values.length !== count) throw new Error("not as many values as the sides say");
  return { width, height, channels, values };
}

async function through(
  values: Uint8Array,
  stream: CompressionStream | DecompressionStream,
  most: number,
): Promise<Uint8Array> {
  const writer = stream.writable.getWriter();
  // What goes wrong here goes wrong at the reader, too.
  writer.write(values.slice()).catch(() => undefined);
  writer.close().catch(() => undefined);
  const reader = stream.readable.getReader();
  const parts: number[] = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Uint8Array.from(parts);
    for (const one of value) parts.push(one);
    if (parts.length > most) throw new Error("more values than the sides say");
  }
}

function toBase64(values: Uint8Array): string {
  let text = "";
  for (const value of values) text += String.fromCharCode(value);
  return btoa(text);
}
