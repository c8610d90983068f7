import { expect, test, vi } from "vitest";
import { bytes, changes, floats, toImageData } from "./decode";

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

test("bytes that lie among others are the same picture as base64", () => {
  const values = [0, 127, 128, 255, 7, 9];
  const lying = Uint8Array.from([1, ...values, 2]).subarray(1, 7);
  const size = { width: 2, height: 1, channels: 3 as const };
  const sent = { ...size, pixels: btoa(String.fromCharCode(...values)) };
  expect(toImageData({ ...size, pixels: lying }).data).toEqual(toImageData(sent).data);
  const [apart, same] = [lying, sent.pixels].map((pixels) => changes({ ...size, pixels, scale: 2 }));
  expect(apart).toEqual(same);
  expect([...(apart as Float32Array)]).toEqual([0, 254, -256, -2, 14, 18]);
});
