// What was added to a picture, in colours: black removes, yellow adds, mid-grey is no change.
import type { Difference } from "../api/types";
import { changes } from "./decode";

/** How many times a change may be drawn larger than it is, besides to its bound. */
export const TIMES = [1, 10, 50] as const;
export type Times = number;

/** The largest change of one pixel value that a bound allows, at most all of it. */
export function largestChange(norm: string, eps: string): number {
  const [above, below = "1"] = eps.split("/");
  const value = norm === "linf" ? Number(above) / Number(below) : 1;
  return value > 0 && value < 1 ? value : 1;
}

/** A factor of a link or a button as it is drawn by; 0, and what is none of them, is to the bound. */
export function timesOf(chosen: number, bound: number): Times {
  return TIMES.find((one) => one === chosen) ?? 1 / bound;
}

// As the tokens --removes, --no-change and --adds of the style have them.
const GROUND = [128, 128, 128] as const;
const REMOVED = [0, 0, 0] as const;
const ADDED = [255, 225, 0] as const;

/** The change in pixel values that has the full colour: it depends on nothing but the factor. */
export function fullScale(times: Times): number {
  return 1 / times;
}

/**
 * The colours of a difference. Of a pixel with three channels the one that changed most is shown:
 * a mean would hide changes that cancel.
 */
export function signedColours(difference: Difference, times: Times): ImageData {
  const { width, height, channels } = difference;
  const values = changes(difference);
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    let change = 0;
    for (let channel = 0; channel < channels; channel++) {
      const value = values[channels * pixel + channel] ?? 0;
      if (Math.abs(value) > Math.abs(change)) change = value;
    }
    const share = Math.min(1, Math.abs(change) / fullScale(times));
    const end = change < 0 ? REMOVED : ADDED;
    for (let colour = 0; colour < 3; colour++) {
      const from = GROUND[colour] as number;
      image.data[4 * pixel + colour] = Math.round(from + share * ((end[colour] as number) - from));
    }
    image.data[4 * pixel + 3] = 255;
  }
  return image;
}

/** The scale in words: `full colour at ±25.5/255`. */
export function scaleInWords(times: Times): string {
  const levels = 255 * fullScale(times);
  return `full colour at ±${Number(levels.toFixed(1))}/255`;
}

/** Whether part of a difference lies beyond the scale, so that its colour says "at least". */
export function beyondScale(difference: Difference, times: Times): boolean {
  // Of the signed 8-bit values the largest is 127, by how the scale is made.
  // What rounds to less than the next colour is not beyond it.
  return 127 * difference.scale > fullScale(times) * (1 + 1e-3);
}
