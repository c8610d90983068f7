// The portrait of one class as it forms, and at the end how sure the network is of it.
import { Picture } from "../../pictures/canvas";
import { percent } from "../../plot/words";
import type { PortraitTold } from "./told";

interface Props {
  label: string;
  /** Why this class: the present one, or the wanted one. */
  role: string;
  told: PortraitTold | undefined;
  steps: number;
}

export function PortraitCard({ label, role, told, steps }: Props) {
  return (
    <article class="card portrait" aria-label={`Portrait of ${label}`}>
      <h3>
        {label} <span class="hint">{role}</span>
      </h3>
      {told?.frames === undefined ? (
        <div class="portrait-empty hint">nothing yet</div>
      ) : (
        <Picture
          frame={told.frames.now}
          alt={`what the network believes ${label} looks like, step ${told.step}`}
        />
      )}
      {told !== undefined && (
        <>
          <p>
            <span class="number">{percent(told.probability)}</span> {label}
            {!told.final && (
              <span class="hint">
                {" "}
                at step {told.step} of {steps}
              </span>
            )}
          </p>
          {!told.final && (
            <progress value={told.share} max={1} aria-label={`how much of ${label} is done`} />
          )}
          {told.words?.slice(1).map((line) => (
            <p key={line} class="hint">
              {line}
            </p>
          ))}
        </>
      )}
    </article>
  );
}
