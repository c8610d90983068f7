import { expect, test } from "vitest";
import { Drawing, penRadius } from "./drawing";

const WHITE = [255];

function line(drawing: Drawing, from: [number, number], to: [number, number], radius = 1): void {
  drawing.begin({ x: from[0], y: from[1] }, radius, WHITE);
  drawing.move({ x: to[0], y: to[1] }, radius, WHITE);
  drawing.end();
}

test("a stroke covers what lies within its radius, softly at its edge", () => {
  const drawing = new Drawing(9, 9, 1);
  line(drawing, [1.5, 4.5], [7.5, 4.5], 1.25);
  const rows = Array.from({ length: 9 }, (_, row) => drawing.values[9 * row + 4]);
  // Pixels whose middles are 0, 1 and 2 away: all, three quarters, none.
  expect(rows).toEqual([0, 0, 0, 191, 255, 191, 0, 0, 0]);
  expect(drawing.values[9 * 4]).toBe(191);
});

test("a stroke that crosses itself is no stronger there, and a second one is", () => {
  const once = new Drawing(9, 9, 1);
  line(once, [1, 4], [8, 4], 0.8);
  const twice = new Drawing(9, 9, 1);
  twice.begin({ x: 1, y: 4 }, 0.8, WHITE);
  for (const x of [8, 1, 8]) twice.move({ x, y: 4 }, 0.8, WHITE);
  twice.end();
  expect([...twice.values]).toEqual([...once.values]);
  line(twice, [1, 4], [8, 4], 0.8);
  const edge = 9 * 3 + 4;
  expect(twice.values[edge]).toBeGreaterThan(once.values[edge] ?? 255);
});

test("points far apart leave no gap", () => {
  const drawing = new Drawing(28, 28, 1);
  line(drawing, [2, 2], [26, 26], penRadius(28));
  for (let at = 3; at < 25; at++) expect(drawing.values[28 * at + at]).toBe(255);
});

test("strokes are taken back and made again, a new one ends what could be made again", () => {
  const drawing = new Drawing(4, 4, 1);
  line(drawing, [1, 1], [3, 1]);
  const one = [...drawing.values];
  line(drawing, [1, 3], [3, 3]);
  const both = [...drawing.values];
  drawing.undo();
  expect([...drawing.values]).toEqual(one);
  drawing.undo();
  expect(Math.max(...drawing.values)).toBe(0);
  expect(drawing.canUndo).toBe(false);
  drawing.redo();
  drawing.redo();
  expect([...drawing.values]).toEqual(both);
  drawing.undo();
  drawing.fill(() => 7);
  expect(drawing.canRedo).toBe(false);
  drawing.undo();
  expect([...drawing.values]).toEqual(one);
});

test("colours keep to their channels, outside the picture nothing happens", () => {
  const drawing = new Drawing(3, 3, 3);
  drawing.begin({ x: -40, y: 90 }, 2, [255, 0, 0]);
  drawing.end();
  expect(Math.max(...drawing.values)).toBe(0);
  drawing.begin({ x: 1.5, y: 1.5 }, 0.6, [10, 20, 30]);
  drawing.end();
  expect([...drawing.values.slice(12, 15)]).toEqual([10, 20, 30]);
});
