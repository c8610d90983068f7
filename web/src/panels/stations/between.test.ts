import { expect, test } from "vitest";
import { changes } from "../../pictures/decode";
import { between } from "./between";

function difference(values: number[], scale: number) {
  const pixels = new Uint8Array(Int8Array.from(values).buffer);
  return { width: values.length, height: 1, channels: 1 as const, pixels, scale };
}

test("what changed between two steps has its sign and its size, whatever their scales", () => {
  const found = between(difference([127, 0, -127], 0.1), difference([127, 127, 127], 0.2));
  const values = [...changes(found)];
  [12.7, 25.4, 38.1].forEach((value, index) => expect(values[index]).toBeCloseTo(value, 0));
  const back = between(difference([127, 127, 127], 0.2), difference([127, 0, -127], 0.1));
  expect([...changes(back)].map(Math.sign)).toEqual([-1, -1, -1]);
});

test("nothing changed between a step and itself", () => {
  const one = difference([5, -9], 0.1);
  expect([...changes(between(one, one))]).toEqual([0, 0]);
});
