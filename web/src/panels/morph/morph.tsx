// The morph: the picture as it turns into the wanted class, and what the network says on the way.
import { computed } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { NetworkInfo } from "../../api/types";
import { Distances, Moved } from "../../pictures/moved";
import { timesOf } from "../../pictures/signed";
import { Curves } from "../../plot/curves";
import { percent } from "../../plot/words";
import { noted } from "../../sentence/words";
import { registerShortcut } from "../../shortcuts";
import { JobState } from "../../state/job_state";
import { bound, morph, playback, run, step, stop, times, waits } from "../../state/morphing";
import { steps } from "../../state/sentence";
import type { Step } from "../../state/trajectory";
import { register, unlessOffered } from "../registry";
import "./morph.css";
import { TimesChoice } from "./times";
import { Transport } from "./transport";

const reach = computed(() => {
  const trajectory = morph.trajectory.value;
  void trajectory.version.value;
  void morph.job.standing.value;
  const last = trajectory.steps.at(-1)?.number ?? 0;
  return morph.open || last === 0 ? trajectory.plan.steps || steps.value : last;
});

function MorphPanel({ network }: { network: NetworkInfo }) {
  useEffect(keys, []);
  const trajectory = morph.trajectory.value;
  void trajectory.version.value;
  const names = useMemo(() => network.labels, [network]);
  const now = step.value;
  const planned = trajectory.plan.steps || steps.value;
  // Those of the network stand below the sentence.
  const isNew = (note: string) => network.notes?.includes(note) !== true;
  const words = now === null ? "no step yet" : inWords(now, planned, names);
  return (
    <div class="morph">
      <div class="morph-pictures stack">
        <Moved trajectory={trajectory} at={playback.position.value} times={timesOf(times.value, bound.value)} names={names} />
        <TimesChoice
          difference={trajectory.frames(playback.position.value)?.frames.difference ?? null}
          bound={bound.value}
        />
      </div>
      <div class="morph-plot stack">
        <p class="morph-now">
          {now === null ? (
            "The probability of each class, step by step:"
          ) : (
            <>
              Predicted as <strong>{names[now.winner]}</strong> with{" "}
              <span class="number">{percent(now.probabilities[now.winner] ?? 0)}</span>
              <Target step={now} names={names} />
            </>
          )}
        </p>
        <Curves
          trajectory={trajectory}
          names={names}
          position={playback.position}
          onScrub={(place) => playback.go(place)}
          reach={reach}
          alt={`The probability of each class at each step. ${words}`}
        />
        <Distances step={now} of={network.input_size?.reduce((one, other) => one * other) ?? 0} />
      </div>
      <div class="morph-foot stack">
        <Transport
          playback={playback}
          count={trajectory.steps.length}
          planned={planned}
          open={["queued", "running", "reconnecting"].includes(morph.job.standing.value.is)}
          onStop={stop}
          number={now?.number ?? 0}
          words={words}
        />
        {waits.value !== null && (
          <div class="row">
            <p class="hint">{waits.value}</p>
            <button type="button" class="button primary" onClick={run}>
              Begin the morph
            </button>
          </div>
        )}
        <JobState job={morph.job} doing="the morph" noStop again={run} />
        {morph.end.value?.notes.filter(isNew).map((note) => (
          <p key={note} class="note">
            {noted(note, network.name)}
          </p>
        ))}
      </div>
    </div>
  );
}

function Target({ step: { winner, probabilities }, names }: { step: Step; names: readonly string[] }) {
  const { target } = morph.trajectory.value.plan;
  if (target === null || target === winner) return null;
  return (
    <>
      ; <strong>{names[target]}</strong> has{" "}
      <span class="number">{percent(probabilities[target] ?? 0)}</span>
    </>
  );
}

/** A step for those who do not see the plot: the most probable classes with their numbers. */
function inWords({ number, probabilities }: Step, planned: number, names: readonly string[]): string {
  const order = [...probabilities.keys()].sort(
    (one, other) => (probabilities[other] as number) - (probabilities[one] as number),
  );
  const said = order
    .slice(0, 3)
    .map((of) => `${names[of]} ${percent(probabilities[of] as number)}`)
    .join(", ");
  return `Step ${number} of ${planned}: ${said}`;
}

/** The keys of the morph; the answer takes them back. */
function keys(): () => void {
  const there = () => morph.trajectory.peek().steps.length > 0;
  const taken = [
    {
      key: " ",
      shown: "Space",
      does: "play or pause the morph",
      when: there,
      run: () => (playback.playing.peek() ? playback.pause() : playback.play()),
    },
    { key: "ArrowRight", shown: "→", does: "one step on", when: there, run: () => playback.step(1) },
    { key: "ArrowLeft", shown: "←", does: "one step back", when: there, run: () => playback.step(-1) },
    { key: "Home", shown: "Home", does: "the first step", when: there, run: () => playback.go(0) },
    {
      key: "End",
      shown: "End",
      does: "the last step",
      when: there,
      run: () => playback.go(morph.trajectory.peek().steps.length - 1),
    },
    {
      key: "Escape",
      shown: "Esc",
      does: "stop the morph",
      when: () => morph.open || playback.playing.peek(),
      run: stop,
    },
  ].map(registerShortcut);
  return () => taken.forEach((back) => back());
}

register({
  id: "morph",
  title: "Morph",
  place: 20,
  width: "two-thirds",
  whyNot: unlessOffered("morph"),
  view: MorphPanel,
});
