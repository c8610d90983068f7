// How many times changes are drawn larger than they are.
import type { Difference } from "../../api/types";
import { SignedScale } from "../../pictures/canvas";
import { TIMES, timesOf } from "../../pictures/signed";
import { times } from "../../state/morphing";

interface Props {
  difference: Difference | null;
  /** The change that gets the full colour by the first of the buttons. */
  bound: number;
}

export function TimesChoice({ difference, bound }: Props) {
  const now = timesOf(times.value, bound);
  const button = (factor: number, pressed: boolean, words: string) => (
    <button
      key={factor}
      type="button"
      class="button small"
      aria-pressed={pressed}
      onClick={() => {
        times.value = factor;
      }}
    >
      {words}
    </button>
  );
  return (
    <div class="row" role="group" aria-label="How many times larger the change is drawn">
      <span class="hint" aria-hidden="true">
        Change drawn
      </span>
      <span class="segmented">
        {bound < 1 && button(0, !TIMES.some((one) => one === now), "to the bound")}
        {TIMES.map((one) => button(one, one === now, `×${one}`))}
      </span>
      <SignedScale difference={difference} times={now} />
    </div>
  );
}
