import { expect, test, vi } from "vitest";
import { bytes, changes, floats } from "./decode";

test("the browser's own way is taken where there is one, and both give the same", () => {
  vi.stubGlobal("Uint8Array", class extends Uint8Array<ArrayBuffer> {
    static fromBase64 = undefined;
  });
  expect([...bytes("AP8QgA==")]).toEqual([0, 255, 16, 128]);
  const fromBase64 = vi.fn((text: string) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0)));
  vi.stubGlobal("Uint8Array", Object.assign(class extends Uint8Array<ArrayBuffer> {}, { fromBase64 }));
  expect([...bytes("AP8QgA==")]).toEqual([0, 255, 16, 128]);
  expect(fromBase64).toHaveBeenCalledOnce();
  vi.unstubAllGlobals();
});

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
