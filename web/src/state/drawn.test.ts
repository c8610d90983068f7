import { expect, test } from "vitest";
import { fromText, MOST_CHARACTERS, toText } from "./drawn";

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
