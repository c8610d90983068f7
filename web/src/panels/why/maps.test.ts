import { expect, test } from "vitest";
import type { Asked } from "./maps";
import { lacking, pardoned, pictureOf, sharedDoubts, verdictOf, withMap } from "./maps";
import { badgeOf, endsInWords, grouped, type MapTold, type MethodOffered } from "./told";

const asked: Asked = { network: "digits-cnn", picture: "digits:7", class: 7, against: null };
const frame = { width: 1, height: 1, channels: 3 as const, pixels: "AAAA" };
const told: MapTold = {
  method: "gradient",
  class: 7,
  against: null,
  random: false,
  verdict: null,
  frames: { map: frame },
};

test("a map counts until the picture, the network, the class or the rival is another", () => {
  const maps = withMap(new Map(), asked, told);
  expect(lacking(maps, ["gradient", "lrp"], asked, false)).toEqual(["lrp"]);
  const others: Partial<Asked>[] = [
    { picture: "step:x:3" },
    { network: "other" },
    { class: 2 },
    { against: 2 },
  ];
  for (const other of others) {
    expect(lacking(maps, ["gradient"], { ...asked, ...other }, false)).toEqual(["gradient"]);
  }
});

test("the map of random weights is asked for where there is something to compare with", () => {
  const maps = withMap(new Map(), asked, told);
  expect(lacking(maps, ["gradient"], asked, true)).toEqual(["gradient"]);
  expect(lacking(withMap(maps, asked, { ...told, random: true }), ["gradient"], asked, true)).toEqual(
    [],
  );
  const refused = withMap(new Map(), asked, { ...told, frames: undefined, why_not: "no layer" });
  expect(lacking(refused, ["gradient"], asked, true)).toEqual([]);
});

test("a map of random weights never stands beside one of another question", () => {
  const maps = withMap(new Map(), asked, told);
  const late = withMap(maps, { ...asked, class: 2 }, { ...told, random: true });
  expect(late.get("gradient")?.random).toBeNull();
});

test("what is not valid here is never drawn, whoever says so and whenever", () => {
  const drawn = withMap(new Map(), asked, told).get("gradient")!;
  const invalid = { word: "not valid here", reasons: ["It finds relevance where nothing matters."] };
  expect(pictureOf(drawn, null, false)?.network).toEqual(frame);
  expect(pictureOf(drawn, invalid, false)).toBeNull();
  const itself = { ...drawn, map: { ...told, frames: undefined, verdict: { ...invalid, by: "the map" } } };
  const audited = new Map([["gradient", { word: "valid", reasons: [] }]]);
  expect(verdictOf(audited, "gradient", itself)).toBe(itself.map.verdict);
  expect(pictureOf(itself, invalid, false)).toBeNull();
  expect(pardoned(new Map([["gradient", itself]]), ["gradient"], audited)).toEqual([]);
  expect(verdictOf(new Map([["gradient", invalid]]), "gradient", drawn)).toBe(invalid);
  expect(verdictOf(new Map(), "gradient", drawn)).toBeNull();
});

test("every method is in one group, by what it promises", () => {
  const method = (name: string, promise: string, of_class = true): MethodOffered => ({
    name, promise, of_class, shows: "", cost: "", caution: "",
  });
  const methods = [
    method("gradient", "none"),
    method("lrp", "conservation: adds up to f(x)"),
    method("hires-cam", "none; where a mean follows, it does"),
    method("eigen-cam", "none", false),
  ];
  expect(grouped(methods).map((group) => group.methods.map((one) => one.name))).toEqual([
    ["lrp"],
    ["gradient", "hires-cam"],
    ["eigen-cam"],
  ]);
});

test("a caption says where the colours of its own map end", () => {
  expect(endsInWords({ start: -0.01234, end: 0.01234, signed: true })).toBe(", ±0.0123");
  expect(endsInWords({ start: 0, end: 2, signed: false })).toBe(", 0 to 2");
  expect(endsInWords(undefined)).toBe("");
});

test("what is doubted of several maps is said once", () => {
  const drawn = (...doubts: string[]) => ({ of: asked, map: { ...told, doubts }, random: null });
  expect(sharedDoubts([drawn("a", "b"), undefined, drawn("c", "a"), drawn("a")])).toEqual(["a"]);
  expect(sharedDoubts([drawn("a")])).toEqual([]);
});

test("a badge says what was measured, and is green only where nothing speaks against the map", () => {
  const valid = { word: "valid", reasons: [] };
  expect(badgeOf(valid)).toEqual({
    words: "computed correctly; not compared with random weights",
    look: "",
  });
  const full = { ...valid, compared: true, scored: true };
  expect(badgeOf(full)).toEqual({ words: "valid", look: "good" });
  expect(badgeOf({ ...full, no_better_than: "centre" })).toEqual({
    words: "valid, no better than centre",
    look: "warning",
  });
  expect(badgeOf({ ...full, unlearnt: true }).words).toBe("valid, hardly depends on the weights");
  expect(badgeOf({ ...full, scored: false })).toEqual({ words: "valid, not scored", look: "" });
  expect(badgeOf({ ...full, word: "not valid here" }).look).toBe("bad");
});
