// The maps on the screen and the job that makes those that are missing or stale.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { type JobSlot, useJob } from "../../state/job";
import { nameOf } from "../../state/sentence";
import { type Asked, lacking, type Maps, pardoned, withMap } from "./maps";
import type { MapTold, Verdict, VerdictTold } from "./told";

/** What audits said, for each network. */
export const audits = signal<ReadonlyMap<string, ReadonlyMap<string, Verdict>>>(new Map());

export function hear(network: string, { method, ...verdict }: VerdictTold): void {
  const known = new Map(audits.peek().get(network)).set(method, verdict);
  audits.value = new Map(audits.peek()).set(network, known);
}

/** Whether an audit goes on; what it says may change until its end. */
export const auditing = signal(false);

interface Wish {
  /** What maps are to be of; `null` while that is not known. */
  asked: Asked | null;
  methods: string[];
  /** Beside each one of random weights. */
  random: boolean;
  /** Whether the picture rests and somebody looks. */
  ready: boolean;
  labels: string[];
}

export const BUSY = ["queued", "running", "reconnecting"];

export function useMaps({ asked, methods, random, ready, labels }: Wish) {
  const job: JobSlot = useJob();
  const [maps, draw] = useState<Maps>(new Map());
  const [command, setCommand] = useState<string | null>(null);
  const under = useRef({ question: "", methods: [] as string[] });
  const question = asked === null ? "" : JSON.stringify([asked, random]);
  const audited = audits.value.get(asked?.network ?? "") ?? new Map<string, Verdict>();
  const again = auditing.value ? [] : pardoned(maps, methods, audited);

  useEffect(() => {
    if (asked === null || !ready) return;
    const missing = lacking(maps, methods, asked, random, again);
    if (missing.length === 0) return;
    const coming =
      again.length === 0 &&
      BUSY.includes(job.standing.peek().is) &&
      under.current.question === question &&
      missing.every((one) => under.current.methods.includes(one));
    if (coming) return;
    under.current = { question, methods: missing };
    const { network, picture } = asked;
    const request = {
      kind: "attribution",
      network,
      picture,
      methods: missing,
      class: nameOf(asked.class, labels),
      against: asked.against === null ? null : nameOf(asked.against, labels),
      random,
    };
    job.run(request, {
      event: (name, data) => {
        if (name === "begin") setCommand((data as { command?: string }).command ?? null);
        if (name !== "map") return;
        const told = data as MapTold;
        draw((before) => withMap(before, asked, told));
        const known = audits.peek().get(network)?.get(told.method);
        // One that was asked for before an audit's end knows less than that.
        if (told.verdict?.by === "the audit" && (known === undefined || told.verdict.compared)) {
          hear(network, { ...told.verdict, method: told.method });
        }
      },
    });
    // Maps that come while it runs start nothing: what is missing is looked at anew when the
    // question is another.
  }, [question, methods.join(), again.join(), ready]);

  return { job, maps, command };
}
