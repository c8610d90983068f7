import { expect, test } from "vitest";
import { changes, floats } from "./decode";

test("numbers come out as they went in", () => {
  const values = new Float32Array([0.25, -3, 1e-9]);
  const text = btoa(String.fromCharCode(...new Uint8Array(values.buffer)));
  expect([...floats(text)]).toEqual([...values]);
});

test("a difference is signed and has its scale", () => {
  const pixels = btoa(String.fromCharCode(127, 0, 256 - 127));
  const difference = { width: 3, height: 1, channels: 1 as const, pixels, scale: 0.5 };
  expect([...changes(difference)]).toEqual([63.5, 0, -63.5]);
});
