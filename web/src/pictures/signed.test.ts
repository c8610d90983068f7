import { expect, test } from "vitest";
import { beyondScale, largestChange, scaleInWords, signedColours, timesOf } from "./signed";

function difference(values: number[], scale: number, channels: 1 | 3 = 1) {
  const pixels = btoa(String.fromCharCode(...values.map((value) => value & 255)));
  return { width: values.length / channels, height: 1, channels, pixels, scale };
}

function colours(image: ImageData): number[][] {
  const found = [];
  for (let at = 0; at < image.data.length; at += 4) found.push([...image.data.slice(at, at + 3)]);
  return found;
}

test("black removes, yellow adds, and no change is grey", () => {
  const drawn = colours(signedColours(difference([-127, 0, 127], 1 / 127), 1));
  expect(drawn).toEqual([
    [0, 0, 0],
    [128, 128, 128],
    [255, 225, 0],
  ]);
});

test("the scale does not depend on the picture, only on the factor", () => {
  const small = difference([127], 0.1 / 127);
  expect(colours(signedColours(small, 1))).toEqual([[141, 138, 115]]);
  expect(colours(signedColours(small, 10))).toEqual([[255, 225, 0]]);
  expect([beyondScale(small, 1), beyondScale(small, 10), beyondScale(small, 50)]).toEqual([
    false,
    false,
    true,
  ]);
  expect(scaleInWords(10)).toBe("full colour at ±25.5/255");
});

test("of three channels the one that changed most is shown", () => {
  const drawn = colours(signedColours(difference([60, -127, 67], 1 / 127, 3), 1));
  expect(drawn).toEqual([[0, 0, 0]]);
});

test("to the bound the largest change that is allowed has the full colour", () => {
  const times = timesOf(0, largestChange("linf", "4/255"));
  expect(scaleInWords(times)).toBe("full colour at ±4/255");
  const most = difference([127], 4 / 255 / 127);
  expect(colours(signedColours(most, times))).toEqual([[255, 225, 0]]);
  expect(beyondScale(most, times)).toBe(false);
  expect([timesOf(10, 4 / 255), timesOf(7, 4 / 255), timesOf(0, 0.5)]).toEqual([10, 63.75, 2]);
  // A length bounds no pixel value by itself, and no bound is all of the range.
  const whole = [largestChange("l2", "2"), largestChange("none", ""), largestChange("linf", "x")];
  expect(whole).toEqual([1, 1, 1]);
});
