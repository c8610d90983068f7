// Which step units are compared with: the start, the one that is marked, or a way station.
import type { Choice } from "../../state/choices";
import { shortLabel } from "../../plot/lines";
import { morph } from "../../state/morphing";
import { shown } from "../../state/shown";

/** The number of the step that a picture is; `null` of others. */
export function numberOf(name: string): number | null {
  return name.startsWith("step:") ? Number(name.slice(name.lastIndexOf(":") + 1)) : null;
}

/** Another step of the search that a picture is a step of; `null` of other pictures. */
export function stepBeside(name: string, number: number): string | null {
  return numberOf(name) === null ? null : `${name.slice(0, name.lastIndexOf(":") + 1)}${number}`;
}

export function Since({ since, labels }: { since: Choice<number>; labels: readonly string[] }) {
  const trajectory = morph.trajectory.value;
  void trajectory.version.value;
  const now = numberOf(shown.value);
  const known = trajectory.stations().flatMap(({ at, why }) => {
    const step = trajectory.steps[at];
    if (step === undefined) return [];
    return [{ number: step.number, words: `${shortLabel(labels[step.winner] ?? "", 24)}, ${why.join(", ")}` }];
  });
  const marked = since.value > 0 && !known.some((one) => one.number === since.value);
  return (
    <>
      <label class="row hint">
        since
        <select
          class="input"
          value={since.value}
          onChange={(event) => {
            since.value = Number(event.currentTarget.value);
          }}
        >
          <option value={0}>the start</option>
          {marked && <option value={since.value}>step {since.value}, marked</option>}
          {known.map(({ number, words }) => (
            <option key={number} value={number}>
              step {number}: {words}
            </option>
          ))}
        </select>
      </label>
      <button
        type="button"
        class="button small"
        disabled={now === null || now === since.value}
        onClick={() => {
          if (now !== null) since.value = now;
        }}
      >
        Compare with {now === null ? "this step" : `step ${now}`}
      </button>
    </>
  );
}
