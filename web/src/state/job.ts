// One job from the wish to its end: how it stands, and what it tells.
//
//   const job = useJob();
//   job.run({ kind: "morph", … }, { event: (name, data) => …, end: (end) => … });
//   <JobState job={job} />
//
// The browser comes back to a lost stream by itself. What it cannot do is tell a server that is
// gone, or a job that is not kept any more, from a short break: that is done here.
import { type ReadonlySignal, signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { call, EVENTS, Refusal } from "../api/client";
import type { End, JobInfo } from "../api/types";
import { slot } from "./slots";

export type Standing =
  | { is: "idle" }
  /** `place` is 1 for the next one; `null` where it is not known. */
  | { is: "queued"; place: number | null }
  | { is: "running"; share: number | null; doing: string }
  | { is: "done"; end: End }
  /** `why` is said where it was not asked for on this page. */
  | { is: "cancelled"; why: string | null }
  | { is: "failed"; reason: string }
  | { is: "reconnecting" }
  /** The server or the job is not there any more; `returns` where it is still being asked for. */
  | { is: "gone"; reason: string; returns: boolean };

export interface Handlers {
  /** The job is accepted; its events come after this. */
  begun?: (job: JobInfo) => void;
  event?: (name: string, data: unknown) => void;
  end?: (end: End) => void;
}

/** Seconds without a connection after which the server is said to be gone. */
const PATIENCE = 6;
/** Seconds between two questions whether it is there again. */
const ASK_AGAIN = 2;

const SERVER_GONE =
  "The studio does not answer. If its command has ended, start it again; this page comes back " +
  "by itself.";
const JOB_GONE = "What this showed is not kept any more: start it again.";

/** A job under way. `standing` says how it is; `cancel` ends it. */
export interface Run {
  standing: ReadonlySignal<Standing>;
  /** Its id, once the server gave it one. */
  id: ReadonlySignal<string | null>;
  cancel: () => void;
  /** Hear no more of it; the server ends it by itself. */
  leave: () => void;
}

/** Start a job and hear it. Nothing is told after `leave`, and nothing twice. */
export function runJob(request: object, handlers: Handlers): Run {
  const standing = signal<Standing>({ is: "queued", place: null });
  const id = signal<string | null>(null);
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = 0;
  let stopped = false;
  let left = false;
  let before: Standing = standing.value;

  const over = () => ["done", "cancelled", "failed"].includes(standing.peek().is);

  function close() {
    source?.close();
    source = null;
    clearTimeout(timer);
  }

  function finish(found: Standing) {
    close();
    giveBack();
    standing.value = found;
  }

  function heard(name: string, told: MessageEvent<string>) {
    const number = Number(told.lastEventId);
    if (number > 0 && number <= last) return;
    last = Math.max(last, number || 0);
    const data: unknown = JSON.parse(told.data);
    if (name === "end") {
      const end = data as End;
      finish(
        end.state === "failed"
          ? { is: "failed", reason: end.problem ?? "It ended without saying why." }
          : end.state === "cancelled"
            ? { is: "cancelled", why: stopped ? null : (end.problem ?? "It was stopped elsewhere.") }
            : { is: "done", end },
      );
      handlers.end?.(end);
    } else if (name === "queued") {
      standing.value = { is: "queued", place: (data as { place?: number }).place ?? null };
    } else {
      if (name === "progress") {
        const { share, doing } = data as { share: number; doing?: string };
        standing.value = { is: "running", share, doing: doing ?? "" };
      } else if (standing.peek().is !== "running") {
        standing.value = { is: "running", share: null, doing: "" };
      }
      handlers.event?.(name, data);
    }
  }

  function connected() {
    clearTimeout(timer);
    timer = undefined;
    const now = standing.peek();
    if (now.is === "reconnecting" || now.is === "gone") standing.value = before;
  }

  function lost() {
    if (left || over()) return;
    const now = standing.peek();
    if (now.is !== "reconnecting" && now.is !== "gone") {
      before = now;
      standing.value = { is: "reconnecting" };
    }
    if (source?.readyState === EventSource.CLOSED) {
      // The browser gave up, as it does where the answer was no stream: ask what has become of it.
      close();
      void ask();
    } else if (timer === undefined) {
      timer = setTimeout(() => {
        standing.value = { is: "gone", reason: SERVER_GONE, returns: true };
      }, 1000 * PATIENCE);
    }
  }

  async function ask() {
    try {
      await call<JobInfo>("GET", `api/jobs/${id.peek()}`);
      if (!left && !over()) listen();
    } catch (problem) {
      if (left || over()) return;
      const status = (problem as Refusal).status;
      if (status === 404) return finish({ is: "gone", reason: JOB_GONE, returns: false });
      standing.value = { is: "gone", reason: SERVER_GONE, returns: true };
      timer = setTimeout(() => void ask(), 1000 * ASK_AGAIN);
    }
  }

  function listen() {
    source = new EventSource(`api/jobs/${id.peek()}/events${last > 0 ? `?after=${last}` : ""}`);
    source.onopen = connected;
    source.onerror = lost;
    for (const name of [...EVENTS, "end"]) {
      source.addEventListener(name, (told) => heard(name, told as MessageEvent<string>));
    }
  }

  async function begin() {
    try {
      const job = await call<JobInfo>("POST", "api/jobs", request);
      id.value = job.id;
      if (left || stopped) return end(job.id);
      handlers.begun?.(job);
      listen();
    } catch (problem) {
      if (left) return;
      const refusal = problem as Refusal;
      finish(
        refusal.status === 0
          ? { is: "gone", reason: refusal.message, returns: false }
          : { is: "failed", reason: refusal.message },
      );
    }
  }

  function end(job: string) {
    void call("DELETE", `api/jobs/${job}`).catch(() => undefined);
  }

  function cancel() {
    if (over()) return;
    stopped = true;
    const job = id.peek();
    if (job !== null) end(job);
    // Where nothing is heard from the server the end will not be told either.
    if (job === null || source === null || standing.peek().is === "gone") {
      finish({ is: "cancelled", why: null });
    }
  }

  const giveBack = slot(() => void begin());
  return {
    standing,
    id,
    cancel,
    leave() {
      left = true;
      const job = id.peek();
      if (job !== null && !over()) end(job);
      close();
      giveBack();
    },
  };
}

/** What a panel holds: the present job of it, if there is one, and how to start the next. */
export class JobSlot {
  private run_: Run | null = null;
  private unhear: (() => void) | undefined;
  private wish: [object, Handlers] | null = null;
  private readonly standing_ = signal<Standing>({ is: "idle" });
  private readonly id_ = signal<string | null>(null);

  get standing(): ReadonlySignal<Standing> {
    return this.standing_;
  }

  /** The id of the present job; `null` before the server gave it one. */
  get id(): ReadonlySignal<string | null> {
    return this.id_;
  }

  /** Start a job; the one before it ends. */
  run(request: object, handlers: Handlers): void {
    this.leave();
    this.wish = [request, handlers];
    const run = runJob(request, handlers);
    this.run_ = run;
    const unhear = [
      run.standing.subscribe((standing) => {
        this.standing_.value = standing;
      }),
      run.id.subscribe((id) => {
        this.id_.value = id;
      }),
    ];
    this.unhear = () => unhear.forEach((stop) => stop());
  }

  /** Start the last one once more. */
  again(): void {
    if (this.wish !== null) this.run(...this.wish);
  }

  cancel(): void {
    this.run_?.cancel();
  }

  /** End it and forget it. */
  leave(): void {
    this.unhear?.();
    this.run_?.leave();
    this.run_ = null;
    this.standing_.value = { is: "idle" };
    this.id_.value = null;
  }
}

/** A place for jobs of a component; what is under way ends with the component. */
export function useJob(): JobSlot {
  const [slot] = useState(() => new JobSlot());
  useEffect(() => () => slot.leave(), [slot]);
  return slot;
}
