// The same picture under any attack, beside another attack or another network.
import type { NetworkInfo } from "../../api/types";
import { TimesChoice } from "../morph/times";
import { Transport } from "../morph/transport";
import { register, unlessOffered } from "../registry";
import "./attack.css";
import { Choose } from "./choose";
import { Lane } from "./lane";
import { attack, boundOfLanes, count, lanes, playback, reach, stop, wishOf } from "./lanes";

function AttackPanel({ network }: { network: NetworkInfo }) {
  const used = lanes.slice(0, count.value);
  const open = used.some((lane) =>
    ["queued", "running", "reconnecting"].includes(lane.job.standing.value.is),
  );
  const started = used.some((lane) => lane.job.standing.value.is !== "idle");
  const wishes = used.map((_, index) => wishOf(index));
  const ready = wishes.some((wish) => typeof wish !== "string");
  const total = Math.max(
    0,
    ...used.map((lane) => {
      void lane.trajectory.value.version.value;
      return lane.trajectory.value.steps.at(-1)?.number ?? 0;
    }),
  );
  const { position } = playback;
  return (
    <div class="stack">
      <Choose network={network} />
      <div class="row">
        <button type="button" class="button primary" onClick={attack} disabled={!ready}>
          {count.value === 1 ? "Attack" : "Attack both"}
        </button>
        {started && <TimesChoice difference={null} bound={boundOfLanes.value} />}
      </div>
      {started && (
        <Transport
          playback={playback}
          count={total + 1}
          planned={reach.value}
          open={open}
          onStop={stop}
          number={position.value}
          words={`step ${position.value} of ${reach.value}`}
        />
      )}
      {!started &&
        wishes.map((wish) => typeof wish === "string" && <p key={wish} class="note">{wish}</p>)}
      {started ? (
        <div class="lanes" data-count={count.value}>
          <Lane index={0} />
          {count.value === 2 && <Lane index={1} />}
        </div>
      ) : (
        <p class="hint">
          The picture of the sentence is attacked, and every lane shows what its network was asked
          about, live, on the same axes.
        </p>
      )}
    </div>
  );
}

register({
  id: "attack",
  title: "Attack",
  place: 50,
  whyNot: unlessOffered("attack"),
  view: AttackPanel,
});
