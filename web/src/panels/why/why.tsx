// Why: maps of the picture on the screen by any method, each beside what a network with random
// weights gives, and with what an audit of this network says of it.
import { useEffect, useRef, useState } from "preact/hooks";
import type { NetworkInfo } from "../../api/types";
import { choice } from "../../state/choices";
import { Picture } from "../../pictures/canvas";
import { percent } from "../../plot/words";
import { useJob } from "../../state/job";
import { JobState } from "../../state/job_state";
import { useOnScreen } from "../../state/on_screen";
import { present, presentTrouble, spoken } from "../../state/present";
import { indexOf, nameOf, wanted } from "../../state/sentence";
import { shown } from "../../state/shown";
import { Command } from "../report/command";
import { AuditBar } from "./audit";
import { ClassPicker } from "./class_picker";
import { ordered } from "./classes";
import { MapCard } from "./map_card";
import { type Asked, type Maps, sharedDoubts, verdictOf } from "./maps";
import { Methods } from "./methods";
import type { AttributionOffer, Verdict, VerdictTold } from "./told";
import { auditing, audits, BUSY, hear, useMaps } from "./use_maps";
import "./why.css";

/** The class that is explained; "" for the winner of the picture on the screen. */
const explained = choice("why", "");
/** The class that it is held against; "" for none. */
const rival = choice("not", "");
/** Methods, with commas between; "" for the usual ones. */
const methodNames = choice("maps", "");
const withRandom = choice("random", true);
const laidOver = choice("over", false);

export function Why({ network }: { network: NetworkInfo }) {
  const { labels } = network;
  const offer = network.offers.attribution as unknown as AttributionOffer;
  const inOrder = (names: string[]) =>
    offer.methods.map((one) => one.name).filter((one) => names.includes(one));
  const usual = inOrder(offer.usual);
  const chosen = inOrder(methodNames.value.split(","));
  const methods = chosen.length > 0 ? chosen : usual;
  const audited = audits.value.get(network.name) ?? new Map<string, Verdict>();

  const place = useRef<HTMLDivElement>(null);
  const seen = useOnScreen(place);
  const now = present.value?.network === network.name ? present.value : null;
  const picture = shown.value;
  const rests = now?.picture === picture;
  const wantedClass = classNamed(wanted.value, labels);
  const named = classNamed(explained.value, labels);
  const against = classNamed(rival.value, labels);
  const target = named ?? now?.winner ?? null;
  const asked: Asked | null =
    target === null
      ? null
      : {
          network: network.name,
          picture,
          class: target,
          against: against === target ? null : against,
        };
  const { job, maps, command } = useMaps({
    asked,
    methods,
    random: withRandom.value,
    ready: rests && seen,
    labels,
  });

  const said = sharedDoubts(methods.map((method) => maps.get(method)));

  return (
    <div ref={place} class="stack why">
      {presentTrouble.value !== null && <p class="problem">{presentTrouble.value}</p>}
      <div class="why-question">
        {now !== null && (
          <figure class={rests ? "" : "stale"}>
            <Picture frame={now.frame} alt={`${spoken(now.picture)}, as the network receives it`} />
          </figure>
        )}
        <div class="stack">
          <p role="status">
            {now === null
              ? presentTrouble.value === null && "Looking at the picture on the screen…"
              : rests
                ? `Of ${spoken(picture)}, predicted as ${labels[now.winner]} with ${percent(now.probabilities[now.winner] ?? 0)}:`
                : `Of ${spoken(picture)}: the maps are redone once it rests.`}
          </p>
          {now !== null && (
            <>
              <ClassPicker
                legend="why"
                none="the winner"
                labels={labels}
                order={ordered(now.probabilities, wantedClass)}
                probabilities={now.probabilities}
                chosen={named}
                choose={(index) => {
                  explained.value = index === null ? "" : nameOf(index, labels);
                }}
              />
              <ClassPicker
                legend="and not"
                none="no pair"
                labels={labels}
                order={ordered(now.probabilities, wantedClass).filter((one) => one !== target)}
                probabilities={now.probabilities}
                chosen={asked?.against ?? null}
                choose={(index) => {
                  rival.value = index === null ? "" : nameOf(index, labels);
                }}
              />
            </>
          )}
        </div>
      </div>
      <Audit
        network={network}
        judged={audited.size}
        unjudged={methods.filter((method) => !audited.has(method))}
      />
      <Methods
        methods={offer.methods}
        chosen={methods}
        choose={(names) => {
          methodNames.value = names.join() === usual.join() ? "" : names.join();
        }}
        usual={usual}
        verdicts={audited}
      />
      <Switches />
      <JobState job={job} doing="the maps" />
      {said.map((doubt) => (
        <p key={doubt} class="note">
          {doubt}
        </p>
      ))}
      {asked !== null && (
        <div class="grid maps">
          {offer.methods
            .filter((method) => methods.includes(method.name))
            .map((method) => (
              <MapCard
                key={method.name}
                method={method}
                drawn={maps.get(method.name)}
                verdict={verdictOf(audited, method.name, ofNetwork(maps, method.name, network))}
                asked={asked}
                random={withRandom.value}
                over={laidOver.value}
                labels={labels}
                said={said}
              />
            ))}
        </div>
      )}
      <Command
        command={command}
        words="These maps in a terminal"
        of={asked && { picture: asked.picture, network: asked.network }}
      />
    </div>
  );
}

/** The class that a choice names, if it names one. */
function classNamed(name: string, labels: string[]): number | null {
  const found = indexOf(name, labels);
  return found < 0 ? null : found;
}

/** A map that still is of this network: verdicts are of one network. */
function ofNetwork(maps: Maps, method: string, network: NetworkInfo) {
  const one = maps.get(method);
  return one?.of.network === network.name ? one : undefined;
}

function Switches() {
  return (
    <div>
      <div class="row">
        <label>
          <input
            type="checkbox"
            checked={withRandom.value}
            onChange={(event) => {
              withRandom.value = event.currentTarget.checked;
            }}
          />{" "}
          beside each the same of random weights
        </label>
        <label>
          <input
            type="checkbox"
            checked={laidOver.value}
            onChange={(event) => {
              laidOver.value = event.currentTarget.checked;
            }}
          />{" "}
          laid over the picture
        </label>
      </div>
      {withRandom.value && (
        <p class="hint">
          A network with random weights knows nothing. Where its map looks like this network's, the
          map shows the picture or the method and not what was learnt: conclude nothing from it.
        </p>
      )}
    </div>
  );
}

function Audit(props: { network: NetworkInfo; judged: number; unjudged: string[] }) {
  const { network } = props;
  const job = useJob();
  const [command, setCommand] = useState<string | null>(null);
  const busy = BUSY.includes(job.standing.value.is);
  useEffect(() => {
    auditing.value = busy;
    return () => {
      auditing.value = false;
    };
  }, [busy]);
  const start = (quick: boolean) =>
    job.run(
      { kind: "audit", network: network.name, quick },
      {
        event: (name, data) => {
          if (name === "begin") setCommand((data as { command?: string }).command ?? null);
          if (name === "verdict") hear(network.name, data as VerdictTold);
        },
      },
    );
  return <AuditBar {...props} job={job} command={command} start={start} />;
}
