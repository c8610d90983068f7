import { expect, test } from "vitest";
import { latest } from "./latest";

test("one question at a time, those between are left out, the last is asked", async () => {
  const asked: number[] = [];
  const answers: (() => void)[] = [];
  let under = 0;
  let most = 0;
  const line = latest<number>(async (value) => {
    asked.push(value);
    most = Math.max(most, ++under);
    await new Promise<void>((resolve) => answers.push(resolve));
    under--;
  });
  for (const value of [1, 2, 3]) line.ask(value);
  expect(asked).toEqual([1]);
  answers.shift()?.();
  await new Promise((resolve) => setTimeout(resolve));
  expect(asked).toEqual([1, 3]);
  answers.shift()?.();
  await new Promise((resolve) => setTimeout(resolve));
  line.ask(4);
  expect(asked).toEqual([1, 3, 4]);
  expect(most).toBe(1);
});

test("a refusal does not end it", async () => {
  const asked: number[] = [];
  const line = latest<number>(async (value) => {
    asked.push(value);
    throw new Error("refused");
  });
  line.ask(1);
  await new Promise((resolve) => setTimeout(resolve));
  line.ask(2);
  expect(asked).toEqual([1, 2]);
});
