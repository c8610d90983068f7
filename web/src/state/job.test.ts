import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Handlers, JobSlot, runJob } from "./job";

/** A stream that does what a test says. */
class FakeSource {
  static readonly CLOSED = 2;
  static all: FakeSource[] = [];
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  private readonly hearing = new Map<string, (told: object) => void>();

  constructor(readonly url: string) {
    FakeSource.all.push(this);
  }

  addEventListener(name: string, hear: (told: object) => void) {
    this.hearing.set(name, hear);
  }

  close() {
    this.readyState = 2;
  }

  tell(number: number, name: string, data: object) {
    const heard = this.hearing.get(name);
    if (heard === undefined) throw new Error(`nobody hears ${name}`);
    heard({ lastEventId: String(number), data: JSON.stringify(data) });
  }

  lose(readyState: number) {
    this.readyState = readyState;
    this.onerror?.();
  }
}

const asked: string[] = [];
let answer: (method: string) => Response | Promise<Response>;
const job = { id: "j1", kind: "morph", state: "queued", files: [] };
const ended = { notes: [], files: [] };

beforeEach(() => {
  vi.useFakeTimers();
  FakeSource.all = [];
  asked.length = 0;
  answer = () => Response.json(job);
  vi.stubGlobal("EventSource", FakeSource);
  vi.stubGlobal("fetch", (url: string, { method }: { method: string }) => {
    asked.push(`${method} ${url}`);
    return Promise.resolve(answer(method));
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function source(): FakeSource {
  const last = FakeSource.all.at(-1);
  if (last === undefined) throw new Error("no stream was opened");
  return last;
}

async function running(handlers: Handlers = {}) {
  const run = runJob({ kind: "morph" }, handlers);
  await vi.advanceTimersByTimeAsync(0);
  source().onopen?.();
  return run;
}

test("a job waits, runs and is done, and tells everything once and in order", async () => {
  const heard: string[] = [];
  const run = await running({
    begun: ({ id }) => heard.push(id),
    event: (name) => heard.push(name),
    end: ({ state }) => heard.push(state),
  });
  expect(run.standing.value).toEqual({ is: "queued", place: null });
  source().tell(1, "queued", { place: 3 });
  expect(run.standing.value).toEqual({ is: "queued", place: 3 });
  source().tell(2, "begin", {});
  expect(run.standing.value.is).toBe("running");
  source().tell(3, "progress", { share: 0.5, doing: "reading" });
  expect(run.standing.value).toEqual({ is: "running", share: 0.5, doing: "reading" });
  source().tell(3, "progress", { share: 0.5, doing: "reading" });
  source().tell(4, "end", { state: "done", ...ended });
  expect(run.standing.value.is).toBe("done");
  expect(source().readyState).toBe(2);
  expect(heard).toEqual(["j1", "begin", "progress", "done"]);
});

test("a refusal and a failure are told with their reasons", async () => {
  answer = () => Response.json({ detail: "there is no class 11" }, { status: 422 });
  const refused = runJob({}, {});
  await vi.advanceTimersByTimeAsync(0);
  expect(refused.standing.value).toEqual({ is: "failed", reason: "there is no class 11" });
  answer = () => Response.json(job);
  const failed = await running();
  source().tell(1, "end", { state: "failed", problem: "no gradient", ...ended });
  expect(failed.standing.value).toEqual({ is: "failed", reason: "no gradient" });
});

test("a short break is bridged, and what is told again is not heard again", async () => {
  const heard: unknown[] = [];
  const run = await running({ event: (_, data) => heard.push((data as { step: number }).step) });
  source().tell(1, "step", { step: 0 });
  source().lose(0);
  expect(run.standing.value.is).toBe("reconnecting");
  await vi.advanceTimersByTimeAsync(3000);
  source().onopen?.();
  expect(run.standing.value.is).toBe("running");
  source().tell(1, "step", { step: 0 });
  source().tell(2, "step", { step: 1 });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(run.standing.value.is).toBe("running");
  expect(heard).toEqual([0, 1]);
});

test("a server that stays away is gone, and comes back by itself", async () => {
  const run = await running();
  source().tell(1, "step", {});
  source().lose(0);
  await vi.advanceTimersByTimeAsync(3000);
  source().lose(0);
  await vi.advanceTimersByTimeAsync(3500);
  expect(run.standing.value).toMatchObject({ is: "gone", returns: true });
  source().onopen?.();
  expect(run.standing.value.is).toBe("running");
});

test("where the browser gives up the job is asked for until it is there or is not kept", async () => {
  const run = await running();
  source().tell(3, "queued", { place: 2 });
  answer = () => Promise.reject(new TypeError("refused"));
  source().lose(2);
  await vi.advanceTimersByTimeAsync(0);
  expect(run.standing.value).toMatchObject({ is: "gone", returns: true });
  answer = () => Response.json(job);
  await vi.advanceTimersByTimeAsync(2500);
  expect(FakeSource.all.length).toBe(2);
  expect(source().url).toBe("api/jobs/j1/events?after=3");
  source().onopen?.();
  expect(run.standing.value.is).toBe("queued");
  answer = () => Response.json({ detail: "no job" }, { status: 404 });
  source().lose(2);
  await vi.advanceTimersByTimeAsync(0);
  expect(run.standing.value).toMatchObject({ is: "gone", returns: false });
});

test("what the user stopped and what was lost are told apart", async () => {
  const stopped = await running();
  stopped.cancel();
  expect(asked.at(-1)).toBe("DELETE api/jobs/j1");
  source().tell(1, "end", { state: "cancelled", ...ended });
  expect(stopped.standing.value).toEqual({ is: "cancelled", why: null });
  const lost = await running();
  source().tell(1, "end", { state: "cancelled", problem: "nobody read it", ...ended });
  expect(lost.standing.value).toEqual({ is: "cancelled", why: "nobody read it" });
});

test("a job that is stopped before the server gave it an id ends there too", async () => {
  const run = runJob({}, {});
  run.cancel();
  expect(run.standing.value.is).toBe("cancelled");
  await vi.advanceTimersByTimeAsync(0);
  expect(asked).toEqual(["POST api/jobs", "DELETE api/jobs/j1"]);
  expect(FakeSource.all).toEqual([]);
});

test("the next job of a panel ends the one before, which is not heard any more", async () => {
  const slot = new JobSlot();
  const heard: string[] = [];
  slot.run({}, { event: () => heard.push("first") });
  await vi.advanceTimersByTimeAsync(0);
  const first = source();
  slot.run({}, { event: () => heard.push("second") });
  expect(asked.at(-2)).toBe("DELETE api/jobs/j1");
  await vi.advanceTimersByTimeAsync(0);
  expect(first.readyState).toBe(2);
  source().tell(1, "step", {});
  expect(heard).toEqual(["second"]);
  expect(slot.standing.value.is).toBe("running");
  slot.leave();
  expect(slot.standing.value.is).toBe("idle");
});

test("of many jobs four are heard at once, so that some can still be stopped", async () => {
  const runs = [];
  for (let number = 0; number < 6; number++) runs.push(await running());
  const posts = () => asked.filter((one) => one.startsWith("POST")).length;
  const before = FakeSource.all.length;
  expect(posts()).toBe(before);
  expect(before).toBeLessThanOrEqual(4);
  expect(runs[5]?.standing.value).toEqual({ is: "queued", place: null });
  runs[5]?.cancel();
  expect(runs[5]?.standing.value).toEqual({ is: "cancelled", why: null });
  runs[0]?.leave();
  await vi.advanceTimersByTimeAsync(0);
  expect(posts()).toBe(before + 1);
  for (const run of runs) run.leave();
});
