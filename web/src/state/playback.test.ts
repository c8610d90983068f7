import { expect, test } from "vitest";
import { Playback, type Played } from "./playback";

function made(played: Played) {
  const due: ((now: number) => void)[] = [];
  const playback = new Playback(() => played, (tick) => due.push(tick));
  let now = 0;
  const pass = (seconds: number) => {
    for (let left = seconds; left > 1e-9; left -= 0.1) {
      now += 100;
      for (const tick of due.splice(0)) tick(now);
    }
  };
  return { playback, pass, due };
}

test("a whole trajectory takes four seconds, and stands still at its end", () => {
  const { playback, pass, due } = made({ count: 41, planned: 41, open: false });
  playback.play(0);
  pass(2.1);
  expect(playback.position.value).toBeGreaterThanOrEqual(19);
  expect(playback.position.value).toBeLessThanOrEqual(21);
  pass(3);
  expect(playback.position.value).toBe(40);
  expect(playback.playing.value).toBe(false);
  expect(due.length).toBe(0);
  playback.play();
  expect(playback.position.value).toBe(0);
});

test("a slow search is followed as it comes", () => {
  const played = { count: 3, planned: 101, open: true };
  const { playback, pass } = made(played);
  playback.play(0);
  pass(4);
  expect(playback.position.value).toBe(2);
  expect(playback.playing.value).toBe(true);
  played.count = 5;
  pass(1);
  expect(playback.position.value).toBe(4);
});

test("a step that is not there yet is gone to when it is", () => {
  const played = { count: 3, planned: 41, open: true };
  const { playback } = made(played);
  playback.go(30);
  expect(playback.position.value).toBe(2);
  expect(playback.waiting).toBe(true);
  played.count = 31;
  playback.grown();
  expect(playback.position.value).toBe(30);
  expect(playback.waiting).toBe(false);
});

test("where fewer steps came than asked for, the last one is shown", () => {
  const played = { count: 8, planned: 41, open: true };
  const { playback } = made(played);
  playback.go(30);
  played.open = false;
  playback.grown();
  expect(playback.position.value).toBe(7);
  expect(playback.waiting).toBe(false);
});

test("stepping pauses, and stays among the steps", () => {
  const { playback } = made({ count: 3, planned: 3, open: false });
  playback.play(0);
  playback.step(1);
  expect([playback.position.value, playback.playing.value]).toEqual([1, false]);
  playback.step(1);
  playback.step(1);
  expect(playback.position.value).toBe(2);
  playback.step(-5);
  expect(playback.position.value).toBe(0);
});
