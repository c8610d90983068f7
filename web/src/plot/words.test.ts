import { expect, test } from "vitest";
import { percent } from "./words";

test("no probability is none or all, also where a float cannot tell", () => {
  const said = [0, 0.0004, 0.0006, 0.5, 0.123456, 0.999, 0.9994, 0.9996, 1].map(percent);
  expect(said).toEqual([
    "< 0.1 %",
    "< 0.1 %",
    "0.1 %",
    "50 %",
    "12.3 %",
    "99.9 %",
    "99.9 %",
    "> 99.9 %",
    "> 99.9 %",
  ]);
});
