import { expect, test } from "vitest";
import { matching, ordered } from "./classes";

test("the winner is first, the wanted class second, the others by their probability", () => {
  const probabilities = new Float32Array([0.1, 0.05, 0.5, 0.15, 0.2]);
  expect(ordered(probabilities, 1)).toEqual([2, 1, 4, 3, 0]);
  expect(ordered(probabilities, 2)).toEqual([2, 4, 3, 0, 1]);
  expect(ordered(probabilities, null)).toEqual([2, 4, 3, 0, 1]);
  expect(ordered(probabilities, 17)).toEqual([2, 4, 3, 0, 1]);
});

test("what is typed finds classes by their labels and numbers, in the order they are in", () => {
  const labels = ["tabby, tabby cat", "catamaran", "wildcat", "cat", "dog"];
  expect(matching([4, 3, 2, 1, 0], labels, " Cat ")[0]).toBe(3);
  expect(matching([4, 3, 2, 1, 0], labels, "")).toEqual([4, 3, 2, 1, 0]);
  expect(matching([4, 3, 2, 1, 0], labels, "4")).toEqual([4]);
  expect(matching([4, 3], labels, "heron")).toEqual([]);
});
