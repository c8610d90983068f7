import { expect, test } from "vitest";
import { axisOf } from "./lanes";

test("an axis reaches to the planned end where that is near, and grows where it is far", () => {
  expect(axisOf(3, 40)).toBe(40);
  expect(axisOf(3, 25_000)).toBe(400);
  expect(axisOf(401, 25_000)).toBe(800);
  expect(axisOf(20_000, 25_000)).toBe(25_000);
  expect(axisOf(60, 40)).toBe(60);
});
