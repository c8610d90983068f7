import { afterEach, expect, test, vi } from "vitest";
import { choice } from "./choices";
import { fromText, keepAgain, MOST_CHARACTERS, openDrawings, spelled, toText, travels } from "./drawn";
import { network } from "./studio";

afterEach(() => vi.unstubAllGlobals());

/** A server that keeps every drawing under the same name; what it was asked. */
function serve(): string[] {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async (path: string, init: RequestInit) => {
    asked.push(`${path} ${String(init.body)}`);
    return new Response(JSON.stringify({ name: "kept:1", width: 3, height: 2, notes: [] }));
  });
  return asked;
}

const settled = () => new Promise<void>((resolve) => setTimeout(resolve, 20));

test("a link's drawing is kept, spelled in the address, and kept once more if it is forgotten", async () => {
  const asked = serve();
  const drawn = { width: 3, height: 2, channels: 1, values: Uint8Array.from([1, 2, 3, 4, 5, 6]) };
  const text = await toText(drawn);
  const picture = choice("drawn-in-a-test", "digits:7", "push", spelled);
  openDrawings(picture);
  picture.value = text;
  await settled();
  expect(asked).toEqual([]);
  network.value = { name: "net", labels: [], channels: 1, input_size: [2, 3], offers: {} };
  await vi.waitFor(() => expect(picture.value).toBe("kept:1"));
  expect(asked).toHaveLength(1);
  expect(asked[0]).toContain(`"pixels":"${btoa("\x01\x02\x03\x04\x05\x06")}"`);
  expect(picture.text()).toBe(text);
  keepAgain(picture);
  await vi.waitFor(() => expect(picture.value).toBe("kept:1"));
  expect(asked).toHaveLength(2);
  keepAgain(picture);
  await settled();
  expect(asked).toHaveLength(2);
});

test("a link to what was brought holds while the studio runs, one to data or a drawing everywhere", () => {
  expect(travels("kept:2")).toBe(false);
  expect(travels("kept:1")).toBe(true);
  expect(travels("digits:7")).toBe(true);
});

test("a drawing comes out of its link as it went in, in few characters", async () => {
  const values = new Uint8Array(28 * 28);
  for (let row = 6; row < 22; row++) values.fill(200 + row, 28 * row + 12, 28 * row + 15);
  const text = await toText({ width: 28, height: 28, channels: 1, values });
  expect(text).toMatch(/^draw:[\w-]+$/);
  expect(text.length).toBeLessThan(400);
  expect(await fromText(text)).toEqual({ width: 28, height: 28, channels: 1, values });
});

test("noise of that size fits into a link as well", async () => {
  const values = Uint8Array.from({ length: 784 }, (_, at) => (at * 7919 + ((at * at) % 251)) % 256);
  const text = await toText({ width: 28, height: 28, channels: 1, values });
  expect(text.length).toBeLessThan(MOST_CHARACTERS);
  expect((await fromText(text)).values).toEqual(values);
});

test("colours keep their channels and sides may differ", async () => {
  const values = Uint8Array.from({ length: 300 * 2 * 3 }, (_, at) => at % 256);
  const drawn = { width: 300, height: 2, channels: 3, values };
  expect(await fromText(await toText(drawn))).toEqual(drawn);
});

test("a link that is cut off, made up, or would unpack to more is refused", async () => {
  const values = new Uint8Array(784).fill(9);
  const text = await toText({ width: 28, height: 28, channels: 1, values });
  await expect(fromText(text.slice(0, -3))).rejects.toThrow();
  await expect(fromText("draw:")).rejects.toThrow();
  await expect(fromText("draw:%%%")).rejects.toThrow();
  const bomb = await toText({ width: 4, height: 4, channels: 1, values: new Uint8Array(1e6) });
  await expect(fromText(bomb)).rejects.toThrow("more values");
  const short = await toText({ width: 9, height: 9, channels: 1, values: new Uint8Array(80) });
  await expect(fromText(short)).rejects.toThrow("not as many");
});
