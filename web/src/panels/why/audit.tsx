// The audit of this network: which methods can be believed on it.
import { counted } from "../../plot/words";
import { place } from "../../sentence/words";
import { Command } from "../report/command";
import { JobState } from "../../state/job_state";
import type { JobSlot } from "../../state/job";
import { unlessOffered } from "../registry";
import type { NetworkInfo } from "../../api/types";

interface Props {
  network: NetworkInfo;
  job: JobSlot;
  command: string | null;
  start: (quick: boolean) => void;
  /** Methods that have a verdict by now. */
  judged: number;
  /** Those that are drawn and have none. */
  unjudged: string[];
}

export function AuditBar({ network, job, command, start, judged, unjudged }: Props) {
  const refused = unlessOffered("audit")(network);
  if (refused !== null) return <p class="hint">No audit of this network: {refused}</p>;
  const standing = job.standing.value.is;
  const busy = ["queued", "running", "reconnecting"].includes(standing);
  const data = network.offers.audit?.data;
  return (
    <div class="audit">
      {!busy && (
        <div class="row">
          <button type="button" class="button" onClick={() => start(true)}>
            {judged > 0 ? "Check again" : "Are these computed correctly here?"}
          </button>
          <button type="button" class="button quiet" onClick={() => start(false)}>
            The audit with scores
          </button>
        </div>
      )}
      {!busy && judged === 0 && (
        <p class="hint">
          The check tries the methods of few passes on {place(network.name)}
          {typeof data === "string" && `, with pictures of ${place(data)}`}: whether their maps are
          computed correctly, which is not yet whether to believe them. The audit with scores tries
          all of them, holds their maps against those of random weights and of plain controls, and
          takes minutes. After either each map carries its verdict and the reasons, and what is not
          valid here is not drawn. Both can be stopped.
        </p>
      )}
      <JobState job={job} doing="the audit" />
      <p class="hint" role="status">
        {judged > 0 && `${counted(judged, "method has", "methods have")} a verdict.`}
        {judged > 0 &&
          !busy &&
          unjudged.length > 0 &&
          ` Not yet looked at: ${unjudged.join(", ")}. What takes many passes is only in the audit with scores.`}
      </p>
      <Command command={command} words="The audit in a terminal" />
    </div>
  );
}
