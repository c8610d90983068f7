// The HTML report of this network: started, watched, and opened in a tab of its own. It goes on
// while other networks are looked at.
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import type { NetworkInfo } from "../../api/types";
import { place } from "../../sentence/words";
import { JobSlot } from "../../state/job";
import { JobState } from "../../state/job_state";
import { unlessOffered } from "../registry";
import { Command } from "./command";
import { Downloads } from "./downloads";
import { leftInWords, secondsLeft } from "./left";

interface ReportOffer {
  data: string[] | string;
  limit: number;
  budget: number;
  sections: { name: string; title: string }[];
}

interface Writing {
  network: string;
  since: number;
  /** The seconds that were asked for. */
  budget: number;
  command: string | null;
  summary: string | null;
  /** Why sections were left out, by their names. */
  missing: Record<string, string>;
}

const job = new JobSlot();
const writing = signal<Writing | null>(null);
/** Where this tab keeps which report is being written: it goes on while the page is loaded anew. */
const KEPT = "report";

const change = (how: Partial<Writing>) => {
  if (writing.peek() !== null) writing.value = { ...writing.peek()!, ...how };
};

function heard(name: string, told: unknown): void {
  if (name === "begin") change({ command: (told as { command?: string }).command ?? null });
  if (name === "told") change(told as { summary: string; missing: Record<string, string> });
}

function keep(id: string): void {
  const { network, since, budget } = writing.peek()!;
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ id, network, since, budget }));
  } catch {
    // The browser keeps nothing: the report is written all the same.
  }
}

/** Hear again of the report that this tab had started. */
export function takeUp(): void {
  try {
    const { id, network, since, budget } = JSON.parse(sessionStorage.getItem(KEPT) ?? "") as Writing & { id: string };
    writing.value = { network, since, budget, command: null, summary: null, missing: {} };
    job.run(id, { event: heard });
  } catch {
    // There is none, or the browser keeps nothing.
  }
}

takeUp();

export function HtmlReport({ network }: { network: NetworkInfo }) {
  const refused = unlessOffered("report")(network);
  const offer = network.offers.report as unknown as ReportOffer;
  const [budget, setBudget] = useState(String(offer?.budget ?? ""));
  const [data, setData] = useState("");
  const now = writing.value;
  const standing = job.standing.value;
  const busy = ["queued", "running", "reconnecting"].includes(standing.is);
  const sets = refused !== null ? [] : [offer.data].flat();
  const seconds = Number(budget);
  const odd = !(seconds >= 10 && seconds <= 3600);

  function start() {
    writing.value = {
      network: network.name,
      since: Date.now(),
      budget: seconds,
      command: null,
      summary: null,
      missing: {},
    };
    job.run(
      {
        kind: "report",
        network: network.name,
        data: sets.includes(data) ? data : sets[0],
        budget: seconds,
      },
      {
        begun: ({ id }) => keep(id),
        event: (name, told) => {
          if (name === "begin") {
            change({ since: Date.now() });
            keep(job.id.peek() ?? "");
          }
          heard(name, told);
        },
      },
    );
  }

  const left =
    standing.is === "running" && standing.share !== null && now !== null
      ? secondsLeft(standing.share, (Date.now() - now.since) / 1000, now.budget)
      : null;
  return (
    <section class="stack" aria-labelledby="html-report">
      <h3 id="html-report">The report</h3>
      {refused !== null ? (
        <p class="hint">No report of this network: {refused}</p>
      ) : (
        <>
          <p class="hint">
            One page to keep and to send: what {place(network.name)} sees, how it fails and what to do, in{" "}
            {offer.sections.length} sections, with pictures of {sets.map(place).join(" or ")}. It needs no internet
            and no studio.
          </p>
          <div class="row">
            {sets.length > 1 && (
              <label class="row hint">
                of
                <select
                  class="input"
                  value={sets.includes(data) ? data : sets[0]}
                  onChange={(event) => setData(event.currentTarget.value)}
                >
                  {sets.map((name) => (
                    <option key={name} value={name}>
                      {place(name)}
                    </option>
                  ))}
                </select>
              </label>
            )}
            <label class="row hint">
              within seconds
              <input
                class="input budget"
                type="number"
                min={10}
                max={3600}
                value={budget}
                aria-invalid={odd}
                onInput={(event) => setBudget(event.currentTarget.value)}
              />
            </label>
            <button type="button" class="button primary" disabled={busy || odd} onClick={start}>
              Write the report
            </button>
          </div>
          {odd && (
            <p class="problem">
              The seconds are {budget === "" ? "missing" : budget}; expected 10 to 3,600.
            </p>
          )}
        </>
      )}
      {now !== null && standing.is !== "idle" && now.network !== network.name && (
        <p class="hint">Of {place(now.network)}:</p>
      )}
      <JobState job={job} doing="the report" again={refused === null ? start : undefined} />
      <p class="hint" role="status">
        {left !== null && leftInWords(left)}
      </p>
      {standing.is === "done" && job.id.value !== null && now !== null && (
        <>
          <div class="row">
            <a
              class="button primary"
              href={`api/jobs/${encodeURIComponent(job.id.value)}/report`}
              target="_blank"
              rel="noopener"
            >
              Open the report of {place(now.network)}
            </a>
            <Downloads job={job} />
          </div>
          {now.summary !== null && <p>{now.summary}</p>}
          {Object.entries(now.missing).map(([name, why]) => (
            <p key={name} class="note">
              {leftOut(offer?.sections?.find((one) => one.name === name)?.title ?? name, why)}
            </p>
          ))}
        </>
      )}
      <Command command={now?.command} words="The report in a terminal" />
    </section>
  );
}

/** Why a section is not there; a reason may begin with what was not made. */
function leftOut(title: string, why: string): string {
  return why.startsWith(title) ? `Left out: ${why}` : `Left out, ${title}: ${why}`;
}
