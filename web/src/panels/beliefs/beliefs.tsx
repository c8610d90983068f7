// What the network believes: portraits of the present and of the wanted class, made as one watches.
import { useState } from "preact/hooks";
import type { NetworkInfo } from "../../api/types";
import { shortLabel } from "../../plot/lines";
import { choice } from "../../state/choices";
import { useJob } from "../../state/job";
import { JobState } from "../../state/job_state";
import { pictured } from "../../state/pictured";
import { present } from "../../state/present";
import { indexOf, nameOf, wanted } from "../../state/sentence";
import { shown } from "../../state/shown";
import { Command } from "../report/command";
import { Downloads } from "../report/downloads";
import { PortraitCard } from "./portrait_card";
import { Samples } from "./samples";
import { pairOf, type PortraitOffer, type PortraitTold, sorted, type Told, withPortrait } from "./told";
import { Worth } from "./worth";
import "./beliefs.css";

/** The preset; "" for the usual one. */
const preset = choice("preset", "");
const seed = choice("portrait-seed", 0);

interface Made {
  classes: number[];
  roles: string[];
  preset: string;
  seed: number;
  steps: number;
  portraits: ReadonlyMap<number, PortraitTold>;
  told: Told | null;
  command: string | null;
}

export function Beliefs({ network }: { network: NetworkInfo }) {
  const { labels } = network;
  const offer = network.offers.portrait as unknown as PortraitOffer;
  const { sound, refused } = sorted(offer.presets);
  const usual = sound.find((one) => one.name === offer.usual) ?? sound[0];
  const chosen = sound.find((one) => one.name === preset.value) ?? usual;
  const job = useJob();
  const [made, make] = useState<Made | null>(null);

  const now = present.value?.network === network.name ? present.value : null;
  const target = indexOf(wanted.value, labels);
  const { classes, roles } = pairOf(now?.winner ?? -1, pictured.value?.winner ?? -1, target);
  const standing = job.standing.value.is;
  const busy = ["queued", "running", "reconnecting"].includes(standing);
  const others =
    made !== null && (made.classes.join() !== classes.join() || made.preset !== chosen?.name);

  function begin(of: number) {
    if (chosen === undefined || classes.length === 0) return;
    seed.value = of;
    make({
      classes,
      roles,
      preset: chosen.name,
      seed: of,
      steps: chosen.steps,
      portraits: new Map(),
      told: null,
      command: null,
    });
    const change = (how: (made: Made) => Partial<Made>) =>
      make((before) => before && { ...before, ...how(before) });
    job.run(
      {
        kind: "portrait",
        network: network.name,
        classes: classes.map((one) => nameOf(one, labels)),
        preset: chosen.name,
        seed: of,
        ...(chosen.needs === "a start" ? { picture: shown.peek() } : {}),
      },
      {
        event: (name, data) => {
          if (name === "begin") {
            const { steps, command } = data as { steps: number; command?: string };
            change(() => ({ steps, command: command ?? null }));
          }
          if (name === "picture") {
            const told = data as PortraitTold;
            change((before) => ({ portraits: withPortrait(before.portraits, told) }));
          }
          if (name === "told") change(() => ({ told: data as Told }));
        },
      },
    );
  }

  const worth = made && [...made.portraits.values()].find((one) => one.final);
  return (
    <div class="stack beliefs">
      <div class="row">
        <label class="row hint">
          preset
          <select
            class="input"
            value={chosen?.name}
            onChange={(event) => {
              const name = event.currentTarget.value;
              preset.value = name === usual?.name ? "" : name;
            }}
          >
            {sound.map((one) => (
              <option key={one.name} value={one.name}>
                {one.name}
              </option>
            ))}
          </select>
        </label>
        <button
          type="button"
          class="button primary"
          disabled={busy || classes.length === 0 || chosen === undefined}
          onClick={() => begin(seed.value)}
        >
          {classes.length > 1
            ? `Portraits of ${classes.map((one) => shortLabel(labels[one] ?? "")).join(" and ")}`
            : classes.length === 1
              ? `Portrait of ${shortLabel(labels[classes[0]!] ?? "")}`
              : "Portraits"}
        </button>
        {made !== null && !busy && (
          <button type="button" class="button" onClick={() => begin(seed.value + 1)}>
            Again with another seed
          </button>
        )}
      </div>
      {chosen !== undefined && (
        <p class="hint">
          {chosen.name}: {chosen.shows}. Take it when {chosen.when}. {chosen.cost} for each portrait.
          {chosen.needs === "a start" && " It begins from the picture on the screen."}
        </p>
      )}
      {offer.notes.map((note) => (
        <p key={note} class="note">
          {note}
        </p>
      ))}
      <JobState job={job} doing="the portraits" />
      <p class={made === null ? "hint" : "note"}>
        A portrait is a picture that is moved until the network is sure of a class: what it looks
        for, not what the class looks like. How sure it is of one says nothing of how sure it is of
        real pictures.
      </p>
      {made !== null && (
        <>
          <p class={others && !busy ? "badge warning" : "hint"} role="status">
            {made.preset}, seed {made.seed}
            {others && !busy && ": of another choice than the present one"}
          </p>
          <div class="portraits-worth">
            <div class="portraits">
              {made.classes.map((one, index) => (
                <PortraitCard
                  key={one}
                  label={labels[one] ?? `class ${one}`}
                  role={made.roles[index] ?? ""}
                  told={made.portraits.get(one)}
                  steps={made.steps}
                />
              ))}
            </div>
            {worth && <Worth portrait={worth} told={made.told} />}
          </div>
          <Command command={made.command} words="These portraits in a terminal" />
          <Downloads job={job} />
        </>
      )}
      {refused.length > 0 && (
        <details>
          <summary>
            {refused.length} {refused.length === 1 ? "preset is" : "presets are"} not sound here
          </summary>
          <dl class="refused">
            {refused.map((one) => (
              <div key={one.name}>
                <dt>{one.name}</dt>
                <dd class="hint">{one.why_not}</dd>
              </div>
            ))}
          </dl>
        </details>
      )}
      <Samples network={network} />
    </div>
  );
}
