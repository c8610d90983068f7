// One job from the wish to its end: how it stands, and what it tells.
//
//   const job = useJob();
//   job.run({ kind: "morph", … }, { event: (name, data) => …, end: (end) => … });
//   <JobState job={job} />
//
// A lost stream is taken up again after the last whole event; a server that is gone, or a job that
// is not kept any more, is told from a short break.
import { type ReadonlySignal, signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { call, Refusal } from "../api/client";
import { hear, type Told } from "../api/stream";
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
/** Seconds between the first ones: a job goes on without a reader for less than a second. */
const COME_BACK = 0.2;
const QUICKLY_FOR = 1;

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

/** Start a job and hear it, or hear the one of that id from its begin. Nothing is told after `leave`,
 * and nothing twice. */
export function runJob(request: object | string, handlers: Handlers): Run {
  const standing = signal<Standing>({ is: "queued", place: null });
  const id = signal<string | null>(null);
  let line: AbortController | null = null;
  let again: ReturnType<typeof setTimeout> | undefined;
  let patience: ReturnType<typeof setTimeout> | undefined;
  /** When the connection was lost; `null` where there is one. */
  let silent: number | null = null;
  let last = 0;
  let stopped = false;
  let left = false;
  let before: Standing = standing.value;

  const over = () => ["done", "cancelled", "failed"].includes(standing.peek().is);

  function close() {
    line?.abort();
    line = null;
    clearTimeout(again);
    clearTimeout(patience);
    patience = undefined;
  }

  function finish(found: Standing) {
    close();
    giveBack();
    standing.value = found;
  }

  function heard({ id: number, event: name, data }: Told) {
    if (number <= last) return;
    last = number;
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
    clearTimeout(patience);
    patience = undefined;
    silent = null;
    const now = standing.peek();
    if (now.is === "reconnecting" || now.is === "gone") standing.value = before;
  }

  function lost(refused: boolean) {
    if (left || over()) return;
    const now = standing.peek();
    if (now.is !== "reconnecting" && now.is !== "gone") {
      before = now;
      standing.value = { is: "reconnecting" };
    }
    silent ??= Date.now();
    if (refused) return void ask();
    patience ??= setTimeout(() => {
      standing.value = { is: "gone", reason: SERVER_GONE, returns: true };
    }, 1000 * PATIENCE);
    comeBack();
  }

  function comeBack() {
    const quickly = Date.now() - (silent ?? 0) < 1000 * QUICKLY_FOR;
    again = setTimeout(listen, 1000 * (quickly ? COME_BACK : ASK_AGAIN));
  }

  async function ask() {
    try {
      await call<JobInfo>("GET", `api/jobs/${id.peek()}`);
      if (!left && !over()) comeBack();
    } catch (problem) {
      if (left || over()) return;
      const status = (problem as Refusal).status;
      if (status === 404) return finish({ is: "gone", reason: JOB_GONE, returns: false });
      standing.value = { is: "gone", reason: SERVER_GONE, returns: true };
      again = setTimeout(() => void ask(), 1000 * ASK_AGAIN);
    }
  }

  function listen() {
    line ??= new AbortController();
    const { signal } = line;
    const path = `api/jobs/${id.peek()}/stream${last > 0 ? `?after=${last}` : ""}`;
    hear(path, signal, connected, heard).then(
      (began) => lost(!began),
      () => signal.aborted || lost(false),
    );
  }

  async function takeUp(job: string) {
    id.value = job;
    try {
      await call<JobInfo>("GET", `api/jobs/${encodeURIComponent(job)}`);
      if (!left && !over()) listen();
    } catch (problem) {
      if (left) return;
      if ((problem as Refusal).status === 404) finish({ is: "idle" });
      else lost(true);
    }
  }

  async function begin() {
    if (typeof request === "string") return takeUp(request);
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
    if (job === null || line === null || standing.peek().is === "gone") {
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
  private wish: [object | string, Handlers] | null = null;
  private readonly standing_ = signal<Standing>({ is: "idle" });
  private readonly id_ = signal<string | null>(null);

  get standing(): ReadonlySignal<Standing> {
    return this.standing_;
  }

  /** The id of the present job; `null` before the server gave it one. */
  get id(): ReadonlySignal<string | null> {
    return this.id_;
  }

  /** Start a job, or take up the one of that id; the one before it ends. */
  run(request: object | string, handlers: Handlers): void {
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
