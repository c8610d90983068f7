// The units that decided about the picture on the screen, or that turned since the start.
import { useRef, useState } from "preact/hooks";
import type { NetworkInfo } from "../../api/types";
import { choice } from "../../state/choices";
import { useFollowing } from "../../state/follow";
import { JobState } from "../../state/job_state";
import { morph } from "../../state/morphing";
import { useOnScreen } from "../../state/on_screen";
import { present, spoken } from "../../state/present";
import { picture } from "../../state/sentence";
import { shown } from "../../state/shown";
import { Command } from "../report/command";
import { Bars } from "./bars";
import type { UnitsOffer, UnitsTold } from "./told";
import { Unit } from "./unit";
import { Since, stepBeside } from "./since";
import "./units.css";

const layer = choice("layer", "");
/** Who turned since another step, in place of who decided. */
const turned = choice("turned", false);
/** That step, by its number; 0 is the start. */
const since = choice("since", 0);

interface Asked {
  kind: "units";
  network: string;
  picture: string;
  other?: string;
  layer?: string;
}

interface Result {
  of: Asked;
  told: UnitsTold;
}

/** The picture to compare with; of a step that the search does not tell of that of the start, and
 * `null` while it may still. */
function startOf(number: number): string | null {
  const { steps, version } = morph.trajectory.value;
  void version.value;
  const there = number === 0 || steps.some((one) => one.number === number);
  if (!there && morph.open) return null;
  return (there && number > 0 && stepBeside(shown.value, number)) || picture.value;
}

export function Units({ network }: { network: NetworkInfo }) {
  const offer = network.offers.units as unknown as UnitsOffer;
  const place = useRef<HTMLDivElement>(null);
  const seen = useOnScreen(place);
  const [result, setResult] = useState<Result | null>(null);
  const [chosen, choose] = useState<number | null>(null);
  const [command, setCommand] = useState<string | null>(null);

  const from = turned.value ? startOf(since.value) : picture.value;
  const moved = shown.value !== from;
  const between = turned.value && moved && from !== null;
  const known = offer.layers.some((one) => one.name === layer.value);
  const asked: Asked = {
    kind: "units",
    network: network.name,
    picture: between ? from : shown.value,
    ...(between ? { other: shown.value } : {}),
    ...(known ? { layer: layer.value } : {}),
  };
  // A step of the address may be still to come.
  const rests = from !== null && present.value?.network === network.name && present.value.picture === shown.value;
  const job = useFollowing(asked, rests && seen, (of) => ({
    event: (name, data) => {
      if (name === "begin") setCommand((data as { command?: string }).command ?? null);
      if (name === "units") setResult({ of, told: data as UnitsTold });
    },
  }));
  const stale = result !== null && JSON.stringify(result.of) !== JSON.stringify(asked);
  const rows = result?.told.rows ?? [];
  const [one, other] = result?.told.pair ?? [-1, -1];
  const pair: [string, string] = [network.labels[one] ?? "", network.labels[other] ?? ""];
  const row = rows.find((one) => one.unit === chosen) ?? rows[0];

  return (
    <div ref={place} class="stack units">
      <div class="row">
        <div class="segmented" role="group" aria-label="Which units">
          <button
            type="button"
            class="button small"
            aria-pressed={!turned.value}
            onClick={() => {
              turned.value = false;
            }}
          >
            who decided
          </button>
          <button
            type="button"
            class="button small"
            aria-pressed={turned.value}
            onClick={() => {
              turned.value = true;
            }}
          >
            who turned since {since.value > 0 ? `step ${since.value}` : "the start"}
          </button>
        </div>
        {turned.value && <Since since={since} labels={network.labels} />}
        <label class="row hint">
          layer
          <select
            class="input"
            value={known ? layer.value : ""}
            onChange={(event) => {
              layer.value = event.currentTarget.value;
            }}
          >
            <option value="">the usual: {offer.usual}</option>
            {offer.layers.map((one) => (
              <option key={one.name} value={one.name}>
                {one.name}, {one.units.toLocaleString("en")} {one.units === 1 ? "unit" : "units"}
              </option>
            ))}
          </select>
        </label>
      </div>
      {turned.value && !moved && (
        <p class="hint">
          {since.value > 0
            ? "This is the step that is compared with: go to another, to see who turned between both. Until then these are the units that decided about it."
            : "Nothing has moved yet: let the picture move, and stop at a frame, to see who turned between the start and that frame. Until then these are the units that decided about the start."}
        </p>
      )}
      <JobState job={job} doing="the search for units" />
      {result !== null && (
        <div class={`stack ${stale ? "stale" : ""}`}>
          <p class={stale ? "badge warning" : "hint"} role="status">
            {between && result.of.other !== undefined
              ? `From ${result.of.picture.startsWith("step:") ? spoken(result.of.picture) : "the start"} to ${spoken(result.of.other)}`
              : `Of ${spoken(result.of.other ?? result.of.picture)}`}
            {stale && ": not redone yet"}
          </p>
          <p>{result.told.summary}</p>
          <div class="units-found">
            <Bars rows={rows} pair={pair} chosen={row?.unit ?? null} choose={choose} />
            {row !== undefined && <Unit row={row} told={result.told} />}
          </div>
          {result.told.notes.map((note) => (
            <p key={note} class="hint">
              {note}
            </p>
          ))}
        </div>
      )}
      <p class="hint">
        An effect is measured: it is what the margin, the lead in logits of one class over the other,
        loses when the unit is removed. Units stand in for each other, so small effects do not say
        that a unit is not used.
      </p>
      <Command
        command={command}
        words="The same in a terminal"
        of={{ picture: asked.picture, network: network.name }}
      />
    </div>
  );
}
