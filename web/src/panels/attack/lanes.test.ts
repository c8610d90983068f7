import { expect, test } from "vitest";
import type { Signal } from "@preact/signals";
import type { StepEvent } from "../../api/types";
import type { Standing } from "../../state/job";
import { axisOf, lanes, playback, stop } from "./lanes";

test("an axis reaches to the planned end where that is near, and grows where it is far", () => {
  expect(axisOf(3, 40)).toBe(40);
  expect(axisOf(3, 25_000)).toBe(400);
  expect(axisOf(401, 25_000)).toBe(800);
  expect(axisOf(20_000, 25_000)).toBe(25_000);
  expect(axisOf(60, 40)).toBe(60);
});

test("a stopped attack goes on to its last picture, which is what its verdict is of", () => {
  const step = (number: number) =>
    ({ step: number, winner: 0, probabilities: [], objective: null, l0: 0, l2: 0, linf: 0 }) as
      unknown as StepEvent;
  const trajectory = lanes[0].trajectory.peek();
  for (const number of [0, 1, 2]) trajectory.add(step(number));
  playback.go(1);
  (lanes[0].job.standing as Signal<Standing>).value = { is: "running", share: null, doing: "" };
  stop();
  trajectory.add(step(3));
  playback.grown();
  expect(playback.position.value).toBe(3);
});
