// One lane: an attack on a network as it goes on, and what came of it.
import { computed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { Distances, Moved } from "../../pictures/moved";
import { timesOf } from "../../pictures/signed";
import { Curves } from "../../plot/curves";
import { counted, distance, percent } from "../../plot/words";
import { JobState } from "../../state/job_state";
import { place as named } from "../../sentence/words";
import { times } from "../../state/morphing";
import { attack, boundOfLanes, lanes, networkOf, playback, reach, wishOf } from "./lanes";
import type { AttackEnd } from "./told";

export function Lane({ index }: { index: 0 | 1 }) {
  const lane = lanes[index];
  const wish = wishOf(index);
  const network = networkOf(index);
  const trajectory = lane.trajectory.value;
  void trajectory.version.value;
  const names = useMemo(() => network?.labels ?? [], [network]);
  const place = useMemo(
    () =>
      computed(() => {
        void trajectory.version.value;
        return trajectory.placeOf(playback.position.value);
      }),
    [trajectory],
  );
  const at = place.value;
  const step = trajectory.steps[at] ?? null;
  const end = lane.end.value as AttackEnd | null;
  const title = typeof wish === "string" ? named(network?.name ?? "") : `${wish.attack.name} on ${named(wish.network)}`;
  const bound = typeof wish === "string" || wish.eps === "" ? "" : `, ${wish.norm.replace("l", "L")} ${wish.eps}`;
  return (
    <section class="card lane" aria-label={title}>
      <h3>
        {title}
        <span class="hint">{bound}</span>
      </h3>
      {typeof wish === "string" && <p class="note">{wish}</p>}
      <Moved trajectory={trajectory} at={at} times={timesOf(times.value, boundOfLanes.value)} names={names} />
      <p class="lane-now">
        {step !== null && (
          <>
            Step <span class="number">{step.number}</span>: predicted as{" "}
            <strong>{names[step.winner]}</strong> with{" "}
            <span class="number">{percent(step.probabilities[step.winner] ?? 0)}</span>
          </>
        )}
      </p>
      <Curves
        trajectory={trajectory}
        names={names}
        position={place}
        onScrub={(to) => playback.go(trajectory.steps[to]?.number ?? 0)}
        reach={reach}
        alt={`The probability of each class under ${title}. ${end?.summary ?? ""}`}
      />
      <Distances
        step={step}
        of={network?.input_size?.reduce((one, other) => one * other) ?? 0}
      />
      <JobState job={lane.job} doing={title} again={attack} />
      {end !== null && <Outcome end={end} />}
    </section>
  );
}

/** What came of an attack. */
export function Outcome({ end }: { end: AttackEnd }) {
  const { success, summary } = end;
  return (
    <div class="stack">
      {success !== undefined && (
        <p>
          <span class={`badge ${success ? "bad" : "good"}`}>
            {end.at_start ? "misclassified at the start" : success ? "success" : "survives"}
          </span>
        </p>
      )}
      {summary !== undefined && <p>{summary[0]?.toUpperCase() + summary.slice(1)}.</p>}
      {success !== undefined && (
        <dl class="lane-numbers">
          <Number name="success" value={success ? "yes" : "no"} />
          {success && end.distance !== null && end.distance !== undefined && (
            <Number name={`distance, ${(end.norm ?? "").replace("l", "L")}`} value={distance(end.distance)} />
          )}
          {end.became !== undefined && (
            <Number
              name="predicted as"
              value={`${end.became} ${end.probability === undefined ? "" : percent(end.probability)}`}
            />
          )}
          <Number name="forward" value={counted(end.forwards ?? 0, "pass", "passes")} />
          <Number name="back" value={counted(end.backwards ?? 0, "pass", "passes")} />
        </dl>
      )}
      {end.notes.map((note) => (
        <p key={note} class="note">
          {note}
        </p>
      ))}
    </div>
  );
}

function Number({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class="number">{value}</dd>
    </div>
  );
}
