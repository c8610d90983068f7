// Way stations: a card for each change of winner, and where the target reaches .1, .5 and .9.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Difference, NetworkInfo } from "../../api/types";
import { Picture, SignedDifference } from "../../pictures/canvas";
import { beyondScale, TIMES, type Times } from "../../pictures/signed";
import { counted, percent } from "../../plot/words";
import { morph } from "../../state/morphing";
import { register, unlessOffered } from "../registry";
import { between } from "./between";
import { StationCard } from "./card";
import "./stations.css";

/** Cards that are shown before more are asked for. */
const MOST = 12;

function StationsPanel({ network }: { network: NetworkInfo }) {
  const chosen = useSignal<readonly number[]>([]);
  const all = useSignal(false);
  const trajectory = morph.trajectory.value;
  void trajectory.version.value;
  void morph.job.standing.value;
  const found = trajectory.stations();
  const shown = all.value ? found : found.slice(0, MOST);
  const compared = chosen.value.filter((at) => found.some((one) => one.at === at));
  if (found.length === 0) {
    const { open } = morph;
    return (
      <p class="hint">
        {open || trajectory.steps.length === 0
          ? "A card appears for each change of the predicted class, and where the wanted class reaches a probability of 0.1, 0.5 and 0.9."
          : "The predicted class never changed, and the probability of the wanted class crossed none of 0.1, 0.5 and 0.9: a wider bound or more steps may do it."}
      </p>
    );
  }
  return (
    <div class="stack">
      <ul class="stations" role="list">
        {shown.map((station) => (
          <StationCard
            key={`${morph.job.id.value} ${station.at}`}
            network={network}
            station={station}
            compared={compared.includes(station.at)}
            alone={compared.length === 1}
            compare={() => {
              chosen.value = compared.includes(station.at)
                ? compared.filter((at) => at !== station.at)
                : [...compared.slice(-1), station.at];
            }}
          />
        ))}
      </ul>
      {found.length > shown.length && (
        <button
          type="button"
          class="button"
          onClick={() => {
            all.value = true;
          }}
        >
          Show all {found.length} way stations
        </button>
      )}
      {compared.length === 2 && <Compared places={compared} network={network} />}
    </div>
  );
}

function Compared({ places, network }: { places: readonly number[]; network: NetworkInfo }) {
  const trajectory = morph.trajectory.value;
  const place = useRef<HTMLElement>(null);
  const which = places.join();
  useEffect(() => place.current?.scrollIntoView({ block: "nearest" }), [which]);
  const [first, second] = [...places]
    .sort((one, other) => one - other)
    .map((at) => ({ step: trajectory.steps[at], found: trajectory.frames(at) }));
  if (!first?.step || !second?.step || !first.found || !second.found) return null;
  const steps = second.step.number - first.step.number;
  const changed = between(first.found.frames.difference, second.found.frames.difference);
  return (
    <section
      class="card stack"
      aria-label="Two way stations compared"
      ref={place}
    >
      <div class="moved">
        {[first, second].map(({ step, found }) => (
          <figure key={step?.number}>
            <figcaption>
              Step {step?.number}: {network.labels[step?.winner ?? 0]}{" "}
              <span class="number">{percent(step?.probabilities[step.winner] ?? 0)}</span>
            </figcaption>
            {found && <Picture frame={found.frames.now} alt={`Step ${step?.number}`} />}
          </figure>
        ))}
        <figure>
          <figcaption>What {counted(steps, "step")} between them changed</figcaption>
          <SignedDifference difference={changed} times={largest(changed)} />
        </figure>
      </div>
    </section>
  );
}

/** What changed between near steps is small: the largest factor that keeps it on the scale. */
function largest(difference: Difference): Times {
  return TIMES.findLast((times) => !beyondScale(difference, times)) ?? 1;
}

register({
  id: "stations",
  title: "Way stations",
  place: 30,
  whyNot: unlessOffered("morph"),
  view: StationsPanel,
});
