import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FakeStream, message } from "../testing";
import { type Handlers, JobSlot, runJob } from "./job";

/** A stream that does what a test says; it is not there until it is opened. */
class FakeSource {
  static all: FakeSource[] = [];
  private readonly stream: FakeStream;
  private answer!: (answer: Response) => void;
  private refuse!: (problem: unknown) => void;
  readonly answered = new Promise<Response>((answer, refuse) => {
    this.answer = answer;
    this.refuse = refuse;
  });

  constructor(
    readonly url: string,
    readonly signal: AbortSignal,
  ) {
    this.stream = new FakeStream(url, signal);
    signal.addEventListener("abort", () => this.refuse(signal.reason));
    FakeSource.all.push(this);
  }

  async open() {
    this.answer(this.stream.answer);
    await vi.advanceTimersByTimeAsync(0);
  }

  async send(piece: Uint8Array) {
    this.stream.send(piece);
    await vi.advanceTimersByTimeAsync(0);
  }

  async tell(number: number, name: string, data: object) {
    await this.send(message(number, name, data));
  }

  /** The connection breaks, or is not had at all. */
  async lose() {
    this.refuse(new TypeError("refused"));
    this.stream.lose();
    await vi.advanceTimersByTimeAsync(0);
  }

  async end() {
    this.stream.end();
    await vi.advanceTimersByTimeAsync(0);
  }

  /** The answer is no stream. */
  async deny(status: number) {
    this.answer(new Response(null, { status }));
    await vi.advanceTimersByTimeAsync(0);
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
  vi.stubGlobal("fetch", (url: string, { method = "GET", signal }: RequestInit) => {
    if (url.includes("/stream")) return new FakeSource(url, signal as AbortSignal).answered;
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
  await source().open();
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
  await source().tell(1, "queued", { place: 3 });
  expect(run.standing.value).toEqual({ is: "queued", place: 3 });
  await source().tell(2, "begin", {});
  expect(run.standing.value.is).toBe("running");
  await source().tell(3, "progress", { share: 0.5, doing: "reading" });
  expect(run.standing.value).toEqual({ is: "running", share: 0.5, doing: "reading" });
  await source().tell(3, "progress", { share: 0.5, doing: "reading" });
  await source().tell(4, "end", { state: "done", ...ended });
  expect(run.standing.value.is).toBe("done");
  expect(source().signal.aborted).toBe(true);
  expect(heard).toEqual(["j1", "begin", "progress", "done"]);
});

test("a refusal and a failure are told with their reasons", async () => {
  answer = () => Response.json({ detail: "there is no class 11" }, { status: 422 });
  const refused = runJob({}, {});
  await vi.advanceTimersByTimeAsync(0);
  expect(refused.standing.value).toEqual({ is: "failed", reason: "there is no class 11" });
  answer = () => Response.json(job);
  const failed = await running();
  await source().tell(1, "end", { state: "failed", problem: "no gradient", ...ended });
  expect(failed.standing.value).toEqual({ is: "failed", reason: "no gradient" });
});

test("a short break is bridged after the last whole message, and nothing is heard twice", async () => {
  const heard: unknown[] = [];
  const run = await running({ event: (_, data) => heard.push((data as { step: number }).step) });
  await source().tell(1, "step", { step: 0 });
  await source().send(message(2, "step", { step: 1 }).slice(0, -1));
  await source().lose();
  expect(run.standing.value.is).toBe("reconnecting");
  expect(FakeSource.all.length).toBe(1);
  await vi.advanceTimersByTimeAsync(250);
  expect(FakeSource.all.length).toBe(2);
  expect(source().url).toBe("api/jobs/j1/stream?after=1");
  expect(run.standing.value.is).toBe("reconnecting");
  await source().open();
  expect(run.standing.value.is).toBe("running");
  await source().tell(1, "step", { step: 0 });
  await source().tell(2, "step", { step: 1 });
  // A stream that ends before the job does was cut by somebody in between.
  await source().end();
  expect(run.standing.value.is).toBe("reconnecting");
  await vi.advanceTimersByTimeAsync(250);
  expect(source().url).toBe("api/jobs/j1/stream?after=2");
  await source().open();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(run.standing.value.is).toBe("running");
  expect(heard).toEqual([0, 1]);
  expect(FakeSource.all.length).toBe(3);
});

test("at first it comes back quickly, as the job waits for it, and then it takes its time", async () => {
  const run = await running();
  await source().lose();
  const tries: number[] = [];
  for (let milliseconds = 0; milliseconds < 5500; milliseconds += 50) {
    const before = FakeSource.all.length;
    await vi.advanceTimersByTimeAsync(50);
    if (FakeSource.all.length > before) {
      tries.push(milliseconds + 50);
      await source().lose();
    }
  }
  // The server waits for 800 ms.
  expect(tries.filter((at) => at < 800).length).toBeGreaterThan(2);
  expect(tries.filter((at) => at > 1500).length).toBeLessThan(4);
  expect(tries.at(-1)).toBeGreaterThan(3000);
  run.leave();
  const before = FakeSource.all.length;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(FakeSource.all.length).toBe(before);
});

test("a server that stays away is gone, and comes back by itself", async () => {
  const run = await running();
  await source().tell(1, "step", {});
  await source().lose();
  for (let second = 0; second < 7; second++) {
    expect(run.standing.value.is).toBe(second < 6 ? "reconnecting" : "gone");
    await vi.advanceTimersByTimeAsync(1000);
    await source().lose();
  }
  expect(run.standing.value).toMatchObject({ is: "gone", returns: true });
  await vi.advanceTimersByTimeAsync(2500);
  await source().open();
  expect(run.standing.value.is).toBe("running");
});

test("where no stream is given the job is asked for until it is there or is not kept", async () => {
  const run = await running();
  await source().tell(3, "queued", { place: 2 });
  await source().lose();
  await vi.advanceTimersByTimeAsync(250);
  answer = () => Promise.reject(new TypeError("refused"));
  await source().deny(502);
  expect(run.standing.value).toMatchObject({ is: "gone", returns: true });
  answer = () => Response.json(job);
  await vi.advanceTimersByTimeAsync(4500);
  expect(FakeSource.all.length).toBe(3);
  expect(source().url).toBe("api/jobs/j1/stream?after=3");
  await source().open();
  expect(run.standing.value.is).toBe("queued");
  await source().lose();
  await vi.advanceTimersByTimeAsync(250);
  answer = () => Response.json({ detail: "no job" }, { status: 404 });
  await source().deny(404);
  expect(run.standing.value).toMatchObject({ is: "gone", returns: false });
});

test("what the user stopped and what was lost are told apart", async () => {
  const stopped = await running();
  stopped.cancel();
  expect(asked.at(-1)).toBe("DELETE api/jobs/j1");
  await source().tell(1, "end", { state: "cancelled", ...ended });
  expect(stopped.standing.value).toEqual({ is: "cancelled", why: null });
  const lost = await running();
  await source().tell(1, "end", { state: "cancelled", problem: "nobody read it", ...ended });
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
  expect(first.signal.aborted).toBe(true);
  await source().open();
  await source().tell(1, "step", {});
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
