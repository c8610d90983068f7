// The API's doors. All URLs are relative, so that the page works under any path of a proxy.
import type { End, JobInfo, Problem } from "./types";

/** A refusal of the server, or its silence, in one sentence for the page. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, "The studio does not answer: is its command still running?");
  }
  if (!answer.ok) {
    const problem = (await answer.json().catch(() => null)) as Problem | null;
    throw new Refusal(answer.status, problem?.detail ?? `The studio answered ${answer.status}.`);
  }
  return (await answer.json()) as T;
}

/** Hears what a job tells; `lost` and `back` say that the connection is gone and there again. */
export interface Listener {
  event: (name: string, data: unknown) => void;
  end: (end: End) => void;
  lost?: () => void;
  back?: () => void;
}

/** Every name of an event besides `end`: the browser wants each of them named. */
export const EVENTS = [
  "begin",
  "step",
  "winner",
  "progress",
  "map",
  "units",
  "picture",
  "verdict",
] as const;

/** Start a job and listen to it; the answer stops listening and cancels it. */
export async function start(request: object, listener: Listener): Promise<RunningJob> {
  const job = await call<JobInfo>("POST", "api/jobs", request);
  return new RunningJob(job, listener);
}

export class RunningJob {
  private source: EventSource;

  constructor(
    readonly info: JobInfo,
    listener: Listener,
  ) {
    // The browser comes back by itself, with Last-Event-ID.
    this.source = new EventSource(`api/jobs/${info.id}/events`);
    this.source.onopen = () => listener.back?.();
    this.source.onerror = () => listener.lost?.();
    for (const name of EVENTS) {
      this.source.addEventListener(name, (told) => listener.event(name, JSON.parse(told.data)));
    }
    this.source.addEventListener("end", (told) => {
      this.source.close();
      listener.end(JSON.parse(told.data) as End);
    });
  }

  /** End it. */
  cancel(): void {
    void call("DELETE", `api/jobs/${this.info.id}`).catch(() => undefined);
  }

  /** Stop listening; the server ends the job by itself if nobody else reads it. */
  leave(): void {
    this.source.close();
  }
}
