import { expect, test } from "vitest";
import {
  article,
  boundInWords,
  boundOf,
  boundProblem,
  brief,
  DIRECTIONS,
  noted,
  place,
  stepsProblem,
  wordProblem,
} from "./words";

test("articles go by what is spoken", () => {
  const an = ["8", "80", "11", "18", "African elephant", "egg", "hourglass"];
  expect(an.map(article)).toEqual(an.map(() => "an"));
  const a = ["2", "1", "118", "unicycle", "tabby", "hammer", "European fire"];
  expect(a.map(article)).toEqual(a.map(() => "a"));
  expect(article("umbrella")).toBe("an");
});

test("bounds are numbers and fractions", () => {
  expect(boundOf("8/255")).toBe(8 / 255);
  expect(boundOf(" .5 ")).toBe(0.5);
  for (const text of ["", "8/", "1e3", "-1", "8/0", "1/2/3", "NaN"]) expect(boundOf(text)).toBe(null);
});

test("what cannot be is refused with what was given and what was expected", () => {
  expect(boundProblem("linf", "8/255")).toBe(null);
  expect(boundProblem("linf", "x")).toContain("“x” is no bound; expected");
  expect(boundProblem("linf", "0")).toContain("more than 0");
  expect(boundProblem("linf", "1.5")).toContain("at most 1");
  expect(boundProblem("l2", "1.5")).toBe(null);
  expect(boundProblem("none", "anything")).toBe(null);
  expect(stepsProblem("40")).toBe(null);
  for (const text of ["0", "2001", "1.5", "-3", "", "many"]) {
    expect(stepsProblem(text)).toContain("expected a whole number from 1 to 2000");
  }
});

test("a word that nobody knows is refused with those that are", () => {
  expect(wordProblem("sign", DIRECTIONS, "way to step")).toBe(null);
  expect(wordProblem("toString", DIRECTIONS, "way to step")).toBe(
    "“toString” is no way to step; expected sign, normalized or raw.",
  );
});

test("names are short where they stand in the sentence", () => {
  expect(brief("tabby, tabby cat")).toBe("tabby");
  expect(brief("great_white_shark")).toBe("great white shark");
  expect(brief("x".repeat(60))).toHaveLength(32);
  expect(place("/models/mine.onnx")).toBe("mine.onnx");
  expect(place("C:\\models\\mine.onnx")).toBe("mine.onnx");
  expect(place("python:/a/long/path/nets.py:make")).toBe("nets.py:make");
  expect(place("python:nets.py:make")).toBe("nets.py:make");
  expect(place("torchvision/resnet18")).toBe("torchvision/resnet18");
  const name = "python:/a/long/path/nets.py:make";
  expect(noted(`no mean is stated for ${name}`, name)).toBe("No mean is stated for nets.py:make.");
  expect(noted(`${name} was never trained.`, name)).toBe("nets.py:make was never trained.");
  expect(boundInWords("l2", "2")).toBe("a length of 2");
});
