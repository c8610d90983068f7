import { expect, test } from "vitest";
import type { StepEvent } from "../api/types";
import { Trajectory } from "./trajectory";

function told(step: number, probabilities: number[], count = 10): StepEvent {
  const values = new Float32Array(probabilities);
  const pixels = new Uint8Array(count / 2);
  const now = { width: 1, height: 1, channels: 1 as const, pixels };
  return {
    step,
    winner: probabilities.indexOf(Math.max(...probabilities)),
    probabilities: btoa(String.fromCharCode(...new Uint8Array(values.buffer))),
    objective: 0,
    l0: 0,
    l2: 0,
    linf: 0,
    frames: { now, difference: { ...now, scale: 1 } },
  };
}

function made(rows: number[][], target: number | null = null): Trajectory {
  const trajectory = new Trajectory(1e6, (tell) => tell());
  trajectory.begin({ target, steps: rows.length - 1 }, null);
  rows.forEach((row, step) => trajectory.add(told(step, row)));
  return trajectory;
}

test("bands are the stretches with one winner", () => {
  const trajectory = made([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.3, 0.4], [0.8, 0.1, 0.1]]);
  expect(trajectory.bands()).toEqual([
    { from: 0, to: 1, winner: 0 },
    { from: 2, to: 2, winner: 2 },
    { from: 3, to: 3, winner: 0 },
  ]);
  expect([...trajectory.highest].map((value) => value.toFixed(1))).toEqual(["0.9", "0.3", "0.4"]);
});

test("way stations are the steps that the server calls so, in words", () => {
  const trajectory = new Trajectory(1e6, (tell) => tell());
  trajectory.add(told(0, [0.9, 0.1]));
  trajectory.add({ ...told(7, [0.8, 0.2]), stations: [{ why: "reaches", share: 0.1 }] });
  trajectory.add(told(8, [0.7, 0.3]));
  trajectory.add({
    ...told(9, [0.2, 0.8]),
    stations: [{ why: "winner" }, { why: "reaches", share: 0.5 }],
  });
  expect(trajectory.stations()).toEqual([
    { at: 1, why: ["the target reaches 0.1"] },
    { at: 3, why: ["a new winner", "the target reaches 0.5"] },
  ]);
});

test("the picture of a way station outlives those between", () => {
  const trajectory = new Trajectory(100, (tell) => tell());
  for (let step = 0; step < 100; step++) {
    const event = told(step, [0.9, 0.1]);
    trajectory.add(step === 33 ? { ...event, stations: [{ why: "reaches", share: 0.1 }] } : event);
  }
  expect(trajectory.frames(33)?.at).toBe(33);
  expect(trajectory.frames(35)?.at).not.toBe(35);
});

test("pictures stay within their bound, and those that matter outlive those between", () => {
  const trajectory = new Trajectory(200, (tell) => tell());
  trajectory.begin({ target: 1, steps: 299 }, null);
  for (let step = 0; step < 300; step++) {
    trajectory.add(told(step, step < 123 ? [0.8, 0.2] : [0.2, 0.8]));
    expect(trajectory.size).toBeLessThanOrEqual(200);
  }
  expect(trajectory.steps.length).toBe(300);
  for (const at of [0, 123]) expect(trajectory.frames(at)?.at).toBe(at);
  // What is left is spread over the whole of it.
  const there = new Set(trajectory.steps.map((_, at) => trajectory.frames(at)?.at));
  expect(there.size).toBeGreaterThan(8);
  for (let at = 0; at < 300; at++) {
    expect(Math.abs((trajectory.frames(at)?.at ?? Infinity) - at)).toBeLessThanOrEqual(32);
  }
});

test("where everything matters the bound still holds", () => {
  const trajectory = new Trajectory(50, (tell) => tell());
  for (let step = 0; step < 40; step++) {
    trajectory.add(told(step, step % 2 === 0 ? [0.8, 0.2] : [0.2, 0.8]));
    expect(trajectory.size).toBeLessThanOrEqual(50);
  }
  expect(trajectory.frames(0)?.at).toBe(0);
  expect(trajectory.frames(39)?.at).toBe(39);
});

test("steps without pictures show the nearest that has one, and say which", () => {
  const trajectory = new Trajectory(1e6, (tell) => tell());
  for (let step = 0; step < 10; step++) {
    const event = told(step, [0.8, 0.2]);
    if (step > 2 && step < 8) delete event.frames;
    trajectory.add(event);
  }
  expect(trajectory.frames(4)?.at).toBe(2);
  expect(trajectory.frames(6)?.at).toBe(8);
});

test("the page is told once for each time that it paints", () => {
  const waiting: (() => void)[] = [];
  const trajectory = new Trajectory(1e6, (tell) => waiting.push(tell));
  for (let step = 0; step < 50; step++) trajectory.add(told(step, [1, 0]));
  expect(waiting.length).toBe(1);
  expect(trajectory.version.value).toBe(0);
  waiting.pop()?.();
  expect(trajectory.version.value).toBe(1);
  trajectory.add(told(50, [1, 0]));
  expect(waiting.length).toBe(1);
});
