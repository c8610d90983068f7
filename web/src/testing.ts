// What tests of components share: a place to render into, and waiting until all is done.
import { render, type ComponentChild } from "preact";
import { act } from "preact/test-utils";

export const place = document.createElement("div");
document.body.append(place);

/** Render, and wait for what effects and answered promises change. */
export async function show(what: ComponentChild): Promise<HTMLElement> {
  await act(() => render(what, place));
  await settle();
  return place;
}

/** Let promises and timers of no time run, and render what they changed. */
export async function settle(): Promise<void> {
  await act(async () => {
    await new Promise((done) => setTimeout(done));
  });
}

/** Press what has this text or label. */
export async function press(words: string): Promise<void> {
  const found = [...place.querySelectorAll<HTMLElement>("button, a, summary, input, select")].find(
    (one) => one.textContent?.trim() === words || one.getAttribute("aria-label") === words,
  );
  if (found === undefined) throw new Error(`nothing to press says ${words}: ${place.innerHTML}`);
  found.click();
  await settle();
}

export function clear(): void {
  render(null, place);
}
