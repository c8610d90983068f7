// What screen readers are told without being asked: changes that matter, never every step.
import { signal } from "@preact/signals";

/** The last thing said; the page has the one polite live region. */
export const announced = signal("");

/** Say something once it is worth interrupting nobody for. */
export function announce(words: string): void {
  announced.value = words;
}
