// How many times changes are drawn larger than they are.
import type { Difference } from "../../api/types";
import { SignedScale } from "../../pictures/canvas";
import { TIMES, type Times } from "../../pictures/signed";
import { times } from "../../state/morphing";

/** The factor of the page; one that a link made up is the usual one. */
export function timesNow(): Times {
  return TIMES.find((one) => one === times.value) ?? 1;
}

export function TimesChoice({ difference }: { difference: Difference | null }) {
  return (
    <div class="row" role="group" aria-label="How many times larger the change is drawn">
      <span class="hint" aria-hidden="true">
        Change drawn
      </span>
      <span class="segmented">
        {TIMES.map((one) => (
          <button
            key={one}
            type="button"
            class="button small"
            aria-pressed={one === timesNow()}
            onClick={() => {
              times.value = one;
            }}
          >
            ×{one}
          </button>
        ))}
      </span>
      <SignedScale difference={difference} times={timesNow()} />
    </div>
  );
}
