// One way station: what it looks like, what the network says of it, and what can be done with it.
import { batch, useSignal } from "@preact/signals";
import { call, download, type Refusal } from "../../api/client";
import type { Named, NetworkInfo } from "../../api/types";
import { Picture } from "../../pictures/canvas";
import { shortLabel } from "../../plot/lines";
import { levels, percent } from "../../plot/words";
import { Combobox } from "../../sentence/combobox";
import { morph, playback } from "../../state/morphing";
import { nameOf, picture, wanted } from "../../state/sentence";
import type { Station } from "../../state/trajectory";

interface Props {
  network: NetworkInfo;
  station: Station;
  compared: boolean;
  /** No other is. */
  alone: boolean;
  compare: () => void;
}

export function StationCard({ network, station: { at, why }, compared, alone, compare }: Props) {
  const going = useSignal(false);
  const problem = useSignal<string | null>(null);
  const trajectory = morph.trajectory.value;
  const step = trajectory.steps[at];
  const found = trajectory.frames(at);
  if (step === undefined) return null;
  const { labels } = network;
  const winner = labels[step.winner] ?? String(step.winner);
  const { target } = trajectory.plan;
  const name = `step:${morph.job.id.value}:${step.number}`;
  const file = new URLSearchParams({ name, network: network.name });
  const share = percent(step.probabilities[step.winner] ?? 0);

  async function goOn(to: string): Promise<void> {
    try {
      const kept = await call<Named>("POST", "api/pictures/kept", {
        network: network.name,
        picture: name,
      });
      batch(() => {
        picture.value = kept.name;
        wanted.value = to;
      });
      document.getElementById("morph")?.scrollIntoView({ block: "start" });
    } catch (refusal) {
      problem.value = (refusal as Refusal).message;
    }
  }

  async function save(number: number): Promise<void> {
    try {
      await download(`api/pictures/png?${file}`, `step-${number}.png`);
    } catch (refusal) {
      problem.value = (refusal as Refusal).message;
    }
  }

  return (
    <li class="card station" aria-label={`Step ${step.number}: predicted as ${winner}`}>
      <h3>Step {step.number}</h3>
      {found !== null && (
        <Picture frame={found.frames.now} alt={`Step ${trajectory.steps[found.at]?.number}`} />
      )}
      {found !== null && found.at !== at && (
        <p class="hint">The picture is that of step {trajectory.steps[found.at]?.number}.</p>
      )}
      <p>
        <strong title={winner}>{shortLabel(winner, 24)}</strong> <span class="number">{share}</span>
      </p>
      <p class="hint">
        {target !== null && target !== step.winner && (
          <>
            {shortLabel(labels[target] ?? "", 24)}{" "}
            <span class="number">{percent(step.probabilities[target] ?? 0)}</span>,{" "}
          </>
        )}
        Linf <span class="number">{levels(step.linf)}</span>
      </p>
      <p class="hint">{why.join(", ")}</p>
      <div class="station-does">
        <button type="button" class="button small" onClick={() => playback.go(at)}>
          Look
        </button>
        <button type="button" class="button small" aria-pressed={compared} onClick={compare}>
          Compare
        </button>
        <button type="button" class="button small" onClick={() => void save(step.number)}>
          Save
        </button>
        <button
          type="button"
          class="button small"
          aria-expanded={going.value}
          onClick={() => {
            going.value = !going.value;
          }}
        >
          Go on into…
        </button>
      </div>
      {compared && alone && <p class="hint">Press Compare on another card, too.</p>}
      {going.value && (
        <Combobox
          label="The class to go on into"
          items={labels.map((label, index) => ({ value: nameOf(index, labels), label }))}
          chosen={wanted.value}
          choose={(to) => void goOn(to)}
        />
      )}
      {problem.value !== null && (
        <p class="problem" role="alert">
          {problem.value}
        </p>
      )}
    </li>
  );
}
