// A picture that moves: as it was, as it is at a step, and what was added, with the distances.
import { counted, distance, levels } from "../plot/words";
import type { Step, Trajectory } from "../state/trajectory";
import { Picture, SignedDifference } from "./canvas";
import "./moved.css";
import type { Times } from "./signed";

interface Props {
  trajectory: Trajectory;
  /** The place of the step that is looked at. */
  at: number;
  times: Times;
  names: readonly string[];
}

export function Moved({ trajectory, at, times, names }: Props) {
  const step = trajectory.steps[at];
  const found = trajectory.frames(at);
  const { original } = trajectory;
  const winner = step === undefined ? "" : (names[step.winner] ?? String(step.winner));
  const first = trajectory.steps[0]?.winner;
  return (
    <div class="moved">
      <figure>
        <figcaption>Original</figcaption>
        {original === null ? (
          <Empty />
        ) : (
          <Picture
            frame={original}
            alt={`The original picture${first === undefined ? "" : `, predicted as ${names[first]}`}`}
          />
        )}
      </figure>
      <figure>
        <figcaption>Now</figcaption>
        {found === null ? (
          <Empty />
        ) : (
          <Picture
            frame={found.frames.now}
            alt={`The picture at step ${step?.number}, predicted as ${winner}`}
          />
        )}
      </figure>
      <figure>
        <figcaption>Change</figcaption>
        {found === null ? (
          <Empty />
        ) : (
          <SignedDifference difference={found.frames.difference} times={times} noScale />
        )}
      </figure>
      {found !== null && found.at !== at && (
        <p class="hint moved-nearest">
          Shown is the picture of step {trajectory.steps[found.at]?.number}: that of step{" "}
          {step?.number} was dropped, since pictures came faster than they could be kept. The
          numbers are those of step {step?.number}.
        </p>
      )}
    </div>
  );
}

function Empty() {
  return <span class="picture moved-empty" />;
}

/** The distances from the original, in every norm. */
export function Distances({ step, of }: { step: Step | null; of: number }) {
  return (
    <dl class="distances" aria-label="Distances from the original">
      <div>
        <dt title="the largest change of one value">Linf</dt>
        <dd class="number">{step === null ? "–" : `${levels(step.linf)} = ${distance(step.linf)}`}</dd>
      </div>
      <div>
        <dt title="the root of the sum of squared changes">L2</dt>
        <dd class="number">{step === null ? "–" : distance(step.l2)}</dd>
      </div>
      <div>
        <dt title="how many pixels were changed">L0</dt>
        <dd class="number">
          {step === null ? "–" : counted(step.l0, "pixel")}
          {step !== null && of > 0 ? ` of ${of.toLocaleString("en")}` : ""}
        </dd>
      </div>
    </dl>
  );
}
