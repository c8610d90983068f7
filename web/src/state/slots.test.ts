import { expect, test } from "vitest";
import { slot } from "./slots";

test("four go at once, the others in turn, and who leaves the line never goes", () => {
  const gone: number[] = [];
  const back = [0, 1, 2, 3, 4, 5, 6].map((number) => slot(() => gone.push(number)));
  expect(gone).toEqual([0, 1, 2, 3]);
  back[4]?.();
  back[1]?.();
  expect(gone).toEqual([0, 1, 2, 3, 5]);
  back[1]?.();
  expect(gone).toEqual([0, 1, 2, 3, 5]);
  back[0]?.();
  expect(gone).toEqual([0, 1, 2, 3, 5, 6]);
  for (const give of back) give();
  slot(() => gone.push(7))();
  expect(gone.at(-1)).toBe(7);
});
