// What is attacked with what: the attack and its bound, the goal, and what stands beside it.
import type { NetworkInfo } from "../../api/types";
import { shortLabel } from "../../plot/lines";
import { noted, place } from "../../sentence/words";
import { indexOf, wanted } from "../../state/sentence";
import { studio } from "../../state/studio";
import {
  attackEps,
  attackName,
  attackNorm,
  attackOf,
  type Beside,
  beside,
  goal,
  networkOf,
  offeredOn,
  otherAttack,
  otherNetwork,
  settings,
  wishOf,
} from "./lanes";
import { Settings } from "./settings";
import { families, type OfferedAttack, READS } from "./told";

export function Choose({ network }: { network: NetworkInfo }) {
  const into = network.labels[indexOf(wanted.value, network.labels)] ?? wanted.value;
  const first = attackOf(0);
  const other = beside.value === "attack" ? attackOf(1) : null;
  return (
    <div class="attack-choose">
      <div class="stack">
        <AttackField label="Attack" network={network} kept={attackName} />
        {first !== null && <About attack={first} />}
        <div class="row attack-bound">
          <Segments
            label="Where to"
            value={goal.value}
            options={{ away: "away from its class", into: `into ${shortLabel(into)}` }}
            choose={(value) => {
              goal.value = value;
            }}
          />
          {first !== null && <Bound attack={first} />}
        </div>
        {first !== null && <Settings attack={first} kept={settings[0]} />}
      </div>
      <div class="stack">
        <Segments
          label="Beside it"
          value={beside.value}
          options={{ nothing: "nothing", attack: "another attack", network: "another network" }}
          choose={(value) => {
            beside.value = value satisfies Beside;
          }}
        />
        {beside.value === "attack" && (
          <AttackField label="The other attack" network={network} kept={otherAttack} />
        )}
        {other !== null && <About attack={other} />}
        {other !== null && <Settings attack={other} kept={settings[1]} />}
        {beside.value === "network" && <NetworkField />}
      </div>
    </div>
  );
}

interface AttackFieldProps {
  label: string;
  network: NetworkInfo;
  kept: { value: string };
}

function AttackField({ label, network, kept }: AttackFieldProps) {
  return (
    <label class="field">
      {label}
      <select
        value={kept.value}
        onChange={({ currentTarget }) => {
          kept.value = currentTarget.value;
        }}
      >
        {families(offeredOn(network)).map(([family, attacks]) => (
          <optgroup key={family} label={family}>
            {attacks.map((one) => (
              <option key={one.name} value={one.name} disabled={one.why_not !== null}>
                {one.name}, reads {one.access}
                {one.why_not === null ? "" : " (not on this network)"}
              </option>
            ))}
          </optgroup>
        ))}
      </select>
    </label>
  );
}

function About({ attack }: { attack: OfferedAttack }) {
  return (
    <p class="hint">
      {attack.summary} It {READS[attack.access] ?? `reads ${attack.access}`}; a step costs{" "}
      {attack.cost}. {attack.paper}.
    </p>
  );
}

function Bound({ attack }: { attack: OfferedAttack }) {
  const norm = attack.norms.includes(attackNorm.value) ? attackNorm.value : (attack.norms[0] ?? "");
  const bounded = norm in attack.eps && norm !== "none" && attack.eps[norm] !== null;
  return (
    <>
      <label class="field">
        Norm
        <select
          value={norm}
          onChange={({ currentTarget }) => {
            attackNorm.value = currentTarget.value;
            attackEps.forget();
          }}
        >
          {attack.norms.map((one) => (
            <option key={one} value={one}>
              {one === "none" ? "none" : one.replace("l", "L")}
            </option>
          ))}
        </select>
      </label>
      {bounded ? (
        <label class="field">
          Within
          <input
            class="attack-eps"
            value={attackEps.value}
            onChange={({ currentTarget }) => {
              const said = currentTarget.value.trim();
              if (said === "") attackEps.forget();
              else attackEps.value = said;
            }}
          />
        </label>
      ) : (
        <p class="hint">
          {attack.minimum_norm ? "It looks for the closest success." : "It has no bound."}
        </p>
      )}
    </>
  );
}

function NetworkField() {
  const names = studio.value?.networks.map(({ name }) => name) ?? [];
  const found = networkOf(1);
  const wish = wishOf(1);
  const doubts = [...(found?.notes ?? [])];
  // Where nothing can be compared, the panel says why.
  if (found?.beside && typeof wish !== "string") doubts.push(found.beside);
  return (
    <>
      <label class="field">
        The other network
        <select
          value={otherNetwork.value}
          onChange={({ currentTarget }) => {
            otherNetwork.value = currentTarget.value;
          }}
        >
          {names.map((name) => (
            <option key={name} value={name}>
              {place(name)}
            </option>
          ))}
        </select>
      </label>
      <p class="hint">
        {found === null
          ? "It is being loaded…"
          : typeof wish === "string"
            ? ""
            : "The same attack with the same settings: what differs is the network alone."}
      </p>
      {doubts.map((note) => (
        <p key={note} class="note">
          {noted(note, found?.name ?? "")}
        </p>
      ))}
    </>
  );
}

interface SegmentsProps<T extends string> {
  label: string;
  value: string;
  options: Record<T, string>;
  choose: (value: T) => void;
}

function Segments<T extends string>({ label, value, options, choose }: SegmentsProps<T>) {
  return (
    <div class="field" role="group" aria-label={label}>
      <span aria-hidden="true">{label}</span>
      <span class="segmented">
        {(Object.keys(options) as T[]).map((one) => (
          <button
            key={one}
            type="button"
            class="button"
            aria-pressed={one === value}
            onClick={() => choose(one)}
          >
            {options[one]}
          </button>
        ))}
      </span>
    </div>
  );
}
