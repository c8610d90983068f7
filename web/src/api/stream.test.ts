import { afterEach, expect, test, vi } from "vitest";
import { FakeStream, message } from "../testing";
import { hear, Messages, type Told } from "./stream";

afterEach(() => vi.unstubAllGlobals());

const frame = (place: number, count: number) => ({ width: count, height: 1, pixels: [place, count] });
const sent = [
  new Uint8Array(8), // the stream is there
  message(1, "begin", { words: "é–日" }),
  message(2, "step", { step: 0, frames: { now: frame(0, 3), difference: frame(3, 2) } }, [
    0, 255, 10, 34, 123,
  ]),
  new Uint8Array(8),
  message(3, "units", { frames: { unit_1: [frame(1, 1), frame(0, 1)], none: [] } }, [8, 9]),
  message(4, "end", { state: "done" }),
];
const whole = Uint8Array.from(sent.flatMap((one) => [...one]));

/** What was told, with bytes as numbers. */
function plain(told: Told[]): unknown {
  return JSON.parse(
    JSON.stringify(told, (_, one: unknown) => (one instanceof Uint8Array ? [...one] : one)),
  );
}

const expected = [
  { id: 1, event: "begin", data: { words: "é–日" } },
  {
    id: 2,
    event: "step",
    data: {
      step: 0,
      frames: {
        now: { width: 3, height: 1, pixels: [0, 255, 10] },
        difference: { width: 2, height: 1, pixels: [34, 123] },
      },
    },
  },
  {
    id: 3,
    event: "units",
    data: {
      frames: {
        unit_1: [
          { width: 1, height: 1, pixels: [9] },
          { width: 1, height: 1, pixels: [8] },
        ],
        none: [],
      },
    },
  },
  { id: 4, event: "end", data: { state: "done" } },
];

test("messages are the same wherever the stream is cut", () => {
  for (const length of [1, 2, 3, 7, 8, 9, 64, whole.length]) {
    const told: Told[] = [];
    const messages = new Messages((one) => told.push(one));
    for (let at = 0; at < whole.length; at += length) messages.take(whole.slice(at, at + length));
    expect(plain(told)).toEqual(expected);
  }
  for (let cut = 0; cut <= whole.length; cut++) {
    const told: Told[] = [];
    const messages = new Messages((one) => told.push(one));
    messages.take(whole.slice(0, cut));
    messages.take(whole.slice(cut));
    expect(plain(told)).toEqual(expected);
  }
});

test("of a stream that breaks off nothing is told but whole messages", () => {
  let before = 0;
  for (let cut = 0; cut <= whole.length; cut++) {
    const told: Told[] = [];
    new Messages((one) => told.push(one)).take(whole.slice(0, cut));
    expect(plain(told)).toEqual(expected.slice(0, told.length));
    expect(told.length - before).toBeLessThanOrEqual(1);
    before = told.length;
  }
  expect(before).toBe(4);
});

test("the bytes of a message are kept by itself, and no more than there are", () => {
  const told: Told[] = [];
  const pieces = Uint8Array.from([...sent[2]!, ...sent[4]!]);
  new Messages((one) => told.push(one)).take(pieces);
  pieces.fill(77);
  const frames = (told[0]!.data as { frames: { now: { pixels: Uint8Array } } }).frames;
  expect([...frames.now.pixels]).toEqual([0, 255, 10]);
  expect(frames.now.pixels.buffer.byteLength).toBe(5);
});

test("a stream is read to its end, and a fault of who hears it is not one of the line", async () => {
  const faults: unknown[] = [];
  vi.stubGlobal("reportError", (fault: unknown) => faults.push(fault));
  const stream = new FakeStream("stream", new AbortController().signal);
  vi.stubGlobal("fetch", () => Promise.resolve(stream.answer));
  const heard: unknown[] = [];
  const opened = vi.fn();
  const whether = hear("stream", stream.signal, opened, ({ id }) => {
    heard.push(id);
    if (id === 2) throw new Error("a panel failed");
  });
  for (const one of sent) stream.send(one);
  stream.end();
  expect(await whether).toBe(true);
  expect(opened).toHaveBeenCalledOnce();
  expect(heard).toEqual([1, 2, 3, 4]);
  expect(faults).toEqual([new Error("a panel failed")]);
});

test("a refusal is no stream, and a lost connection is told from an end", async () => {
  const opened = vi.fn();
  const { signal } = new AbortController();
  for (const status of [204, 404, 503]) {
    vi.stubGlobal("fetch", () => Promise.resolve(new Response(null, { status })));
    expect(await hear("stream", signal, opened, () => undefined)).toBe(false);
  }
  expect(opened).not.toHaveBeenCalled();
  const stream = new FakeStream("stream", signal);
  vi.stubGlobal("fetch", () => Promise.resolve(stream.answer));
  const heard: unknown[] = [];
  const lost = hear("stream", signal, opened, ({ id }) => heard.push(id));
  stream.send(whole.slice(0, whole.length - 3));
  await new Promise((done) => setTimeout(done));
  stream.lose();
  await expect(lost).rejects.toThrow("network error");
  expect(heard).toEqual([1, 2, 3]);
});
