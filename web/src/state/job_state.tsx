// How a job stands, for those who look at the page and those who hear it: one design for all.
import type { JobSlot, Standing } from "./job";
import "./job_state.css";

interface Props {
  job: JobSlot;
  /** What it does, such as "the morph". */
  doing?: string;
  /** Where the panel has a button of its own for it. */
  noStop?: boolean;
  /** Where starting again is more than starting the job again. */
  again?: () => void;
}

export function JobState({ job, doing = "this", noStop = false, again: restart }: Props) {
  const standing = job.standing.value;
  const busy = ["queued", "running", "reconnecting"].includes(standing.is);
  const again = ["cancelled", "failed"].includes(standing.is) || isOver(standing);
  if (standing.is === "idle" || standing.is === "done") return null;
  return (
    <div class={`job-state job-${standing.is}`}>
      <p
        role={standing.is === "failed" || standing.is === "gone" ? "alert" : "status"}
        class={standing.is === "failed" || standing.is === "gone" ? "problem" : "hint"}
      >
        {inWords(standing, doing)}
      </p>
      {standing.is === "running" && standing.share !== null && (
        <progress value={standing.share} max={1} aria-label={`how much of ${doing} is done`} />
      )}
      {busy && !noStop && (
        <button type="button" class="button" onClick={() => job.cancel()}>
          Stop
        </button>
      )}
      {again && (
        <button type="button" class="button" onClick={restart ?? (() => job.again())}>
          {standing.is === "failed" ? "Try again" : "Start again"}
        </button>
      )}
    </div>
  );
}

function isOver(standing: Standing): boolean {
  return standing.is === "gone" && !standing.returns;
}

/** A standing as a sentence. */
export function inWords(standing: Standing, doing: string): string {
  switch (standing.is) {
    case "idle":
      return "";
    case "queued":
      if (standing.place === null) return "Waiting for its turn…";
      if (standing.place <= 1) return "Waiting: it is next in the line…";
      return `Waiting: it is number ${standing.place} in the line…`;
    case "running":
      return standing.doing === "" ? "Running…" : `Running: ${standing.doing}…`;
    case "done":
      return "Done.";
    case "cancelled":
      if (standing.why === null) return "Stopped. What came until then is shown.";
      return `The studio stopped ${doing}: ${standing.why} What came until then is shown.`;
    case "failed":
      return standing.reason;
    case "reconnecting":
      return "The connection is lost; coming back…";
    case "gone":
      return standing.reason;
  }
}
