import { expect, test } from "vitest";
import { apart, chooseLines, shortLabel } from "./lines";

test("a small network has a curve for every class, no two of which look alike", () => {
  const lines = chooseLines(new Float32Array(10), []);
  expect(lines.map(({ of }) => of)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(new Set(lines.map(({ colour }) => colour)).size).toBe(10);
});

test("a large one has the eight most probable, the wanted class in any case, and all others", () => {
  const highest = new Float32Array(1000);
  for (let of = 0; of < 20; of++) highest[of] = 0.5 + of / 100;
  const lines = chooseLines(highest, [777]);
  expect(lines.map(({ of }) => of)).toEqual([777, 19, 18, 17, 16, 15, 14, 13, null]);
  expect(new Set(lines.map(({ colour }) => colour)).size).toBe(9);
});

test("a class keeps its look while others come and go", () => {
  const highest = new Float32Array(100);
  for (let of = 0; of < 8; of++) highest[of] = 0.5;
  const before = chooseLines(highest, []);
  highest[50] = 0.9;
  highest[3] = 0.1;
  const after = chooseLines(highest, [], before);
  const kept = before.filter(({ of }) => of !== 3);
  for (const line of kept) expect(after).toContainEqual(line);
  expect(after.find(({ of }) => of === 50)?.colour).toBe(before.find(({ of }) => of === 3)?.colour);
});

test("labels are moved apart and stay within their room", () => {
  expect(apart([50, 50, 50], 10, 0, 100)).toEqual([50, 60, 70]);
  expect(apart([98, 99, 5], 10, 0, 100)).toEqual([90, 100, 5]);
  expect(apart([-5, 0], 10, 0, 100)).toEqual([0, 10]);
});

test("a label is its first name", () => {
  expect(shortLabel("hen-of-the-woods, hen of the woods")).toBe("hen-of-the-woods");
  expect(shortLabel("a very long name of a class", 10)).toBe("a very lo…");
});
