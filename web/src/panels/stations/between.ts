// What changed from one step of a trajectory to another.
import type { Difference } from "../../api/types";
import { changes } from "../../pictures/decode";

/** The second difference from the original less the first, on a scale of its own. */
export function between(from: Difference, to: Difference): Difference {
  const [before, after] = [changes(from), changes(to)];
  let most = 0;
  for (let index = 0; index < after.length; index++) {
    after[index] = (after[index] as number) - (before[index] as number);
    most = Math.max(most, Math.abs(after[index] as number));
  }
  const scale = most / 127;
  const signed = Int8Array.from(after, (value) => (scale > 0 ? Math.round(value / scale) : 0));
  return { ...to, pixels: new Uint8Array(signed.buffer), scale };
}
