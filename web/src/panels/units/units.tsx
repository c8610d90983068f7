// The units that decided about the picture on the screen, or that turned since the start.
import { useRef, useState } from "preact/hooks";
import type { NetworkInfo } from "../../api/types";
import { choice } from "../../state/choices";
import { useFollowing } from "../../state/follow";
import { JobState } from "../../state/job_state";
import { useOnScreen } from "../../state/on_screen";
import { present, spoken } from "../../state/present";
import { picture } from "../../state/sentence";
import { shown } from "../../state/shown";
import { Command } from "../report/command";
import { Bars } from "./bars";
import type { UnitsOffer, UnitsTold } from "./told";
import { Unit } from "./unit";
import "./units.css";

const layer = choice("layer", "");
/** Who turned since the start, in place of who decided. */
const sinceStart = choice("turned", false);

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

export function Units({ network }: { network: NetworkInfo }) {
  const offer = network.offers.units as unknown as UnitsOffer;
  const place = useRef<HTMLDivElement>(null);
  const seen = useOnScreen(place);
  const [result, setResult] = useState<Result | null>(null);
  const [chosen, choose] = useState<number | null>(null);
  const [command, setCommand] = useState<string | null>(null);

  const moved = shown.value !== picture.value;
  const between = sinceStart.value && moved;
  const known = offer.layers.some((one) => one.name === layer.value);
  const asked: Asked = {
    kind: "units",
    network: network.name,
    picture: between ? picture.value : shown.value,
    ...(between ? { other: shown.value } : {}),
    ...(known ? { layer: layer.value } : {}),
  };
  const rests = present.value?.network === network.name && present.value.picture === shown.value;
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
            aria-pressed={!sinceStart.value}
            onClick={() => {
              sinceStart.value = false;
            }}
          >
            who decided
          </button>
          <button
            type="button"
            class="button small"
            aria-pressed={sinceStart.value}
            onClick={() => {
              sinceStart.value = true;
            }}
          >
            who turned since the start
          </button>
        </div>
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
      {sinceStart.value && !moved && (
        <p class="hint">
          Nothing has moved yet: let the picture move, and stop at a frame, to see who turned between
          the start and that frame. Until then these are the units that decided about the start.
        </p>
      )}
      <JobState job={job} doing="the search for units" />
      {result !== null && (
        <div class={`stack ${stale ? "stale" : ""}`}>
          <p class={stale ? "badge warning" : "hint"} role="status">
            {between && result.of.other !== undefined
              ? `From the start to ${spoken(result.of.other)}`
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
        of={{ picture: shown.value, network: network.name }}
      />
    </div>
  );
}
