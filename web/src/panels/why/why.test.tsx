import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { present } from "../../state/present";
import { picture, wanted } from "../../state/sentence";
import { shownStep } from "../../state/shown";
import { network as studioNetwork } from "../../state/studio";
import { clear, place, press, server, settle, show } from "../../testing";
import { audits } from "./use_maps";
import { Why } from "./why";

const method = { promise: "none", cost: "1 pass", caution: "", of_class: true };
const network = {
  name: "digits-cnn",
  labels: ["zero", "<img src=x onerror=alert(1)>", "two"],
  channels: 1,
  input_size: null,
  offers: {
    attribution: {
      methods: [
        { ...method, name: "gradient", shows: "which way" },
        { ...method, name: "lrp", shows: "what each adds", promise: "conservation" },
      ],
      usual: ["gradient"],
    },
    audit: { data: "digits" },
  },
};
const frame = { width: 1, height: 1, channels: 3, pixels: "AAAA" };
const map = {
  method: "gradient",
  class: 1,
  against: null,
  random: false,
  verdict: null,
  words: "In logit per pixel value; red: brighter pixels raise it.",
  frames: { map: frame },
};

beforeEach(async () => {
  vi.stubGlobal("IntersectionObserver", undefined);
  server.start(vi.stubGlobal);
  studioNetwork.value = null;
  picture.value = "digits:7";
  wanted.value = "two";
  audits.value = new Map();
  present.value = {
    network: "digits-cnn",
    picture: "digits:7",
    probabilities: new Float32Array([0.1, 0.7, 0.2]),
    winner: 1,
    frame: { ...frame, channels: 3 },
  };
});

afterEach(async () => {
  await clear();
  shownStep.value = null;
  vi.unstubAllGlobals();
});

const pictures = () =>
  [...place.querySelectorAll(".map-card [role=img]")].map((one) => one.getAttribute("aria-label"));

test("the usual maps of the winner are asked for, beside those of random weights", async () => {
  await show(<Why network={network} />);
  expect(server.jobs).toEqual([
    {
      kind: "attribution",
      network: "digits-cnn",
      picture: "digits:7",
      methods: ["gradient"],
      class: network.labels[1],
      against: null,
      random: true,
    },
  ]);
  await server.stream().tell("map", map);
  await server.stream().tell("map", { ...map, random: true });
  const what = `gradient of ${network.labels[1]}`;
  expect(pictures()).toEqual([`${what}, this network`, `${what}, random weights`]);
  expect(place.textContent).toContain("red: brighter pixels raise it");
  expect(place.textContent).toContain("not audited");
});

test("labels that look like markup stay text", async () => {
  await show(<Why network={network} />);
  await server.stream().tell("map", { ...map, doubts: ["<b>bold</b>"] });
  expect(place.querySelector("img, b")).toBeNull();
  expect(place.textContent).toContain("<img src=x onerror=alert(1)>");
});

test("another class is another question, and the map of the first is stale until it is redone", async () => {
  await show(<Why network={network} />);
  await server.stream().tell("map", map);
  expect(place.querySelector(".map-card.stale")).toBeNull();
  await press("two20 %");
  expect(server.jobs.at(-1)).toMatchObject({ class: "two", methods: ["gradient"] });
  expect(place.querySelector(".map-card.stale")?.textContent).toContain("not redone yet");
  await server.stream().tell("map", { ...map, class: 2 });
  expect(place.querySelector(".map-card.stale")).toBeNull();
  await press("the winner");
});

test("a map follows the picture only when that rests, and is stale at once", async () => {
  await show(<Why network={network} />);
  await server.stream().tell("map", map);
  shownStep.value = "step:x:3";
  await settle();
  expect(server.jobs.length).toBe(1);
  expect(place.querySelector(".map-card.stale")?.textContent).toContain("digits:7");
  present.value = { ...present.value!, picture: "step:x:3", winner: 2 };
  await settle();
  expect(server.jobs.at(-1)).toMatchObject({ picture: "step:x:3", class: "two" });
});

test("a verdict of not valid here takes the map away, and never lets one be drawn", async () => {
  await show(<Why network={network} />);
  await server.stream().tell("map", map);
  const maps = server.stream();
  expect(pictures().length).toBe(1);
  await press("Are these computed correctly here?");
  expect(server.jobs.at(-1)).toMatchObject({ kind: "audit", network: "digits-cnn" });
  const reason = "It finds relevance where nothing can matter.";
  await server
    .stream()
    .tell("verdict", { method: "gradient", word: "not valid here", reasons: [reason] });
  expect(pictures()).toEqual([]);
  expect(place.textContent).toContain(reason);
  expect(place.textContent).not.toContain("not audited");
  await maps.tell("map", { ...map, random: true });
  expect(pictures()).toEqual([]);
});

test("a pair is asked for as such, and only methods that are new are asked for again", async () => {
  await show(<Why network={network} />);
  await server.stream().tell("map", map);
  await server.stream().tell("map", { ...map, random: true });
  const box = [...place.querySelectorAll<HTMLInputElement>(".method input")][0]!;
  box.click();
  await settle();
  expect(server.jobs.at(-1)).toMatchObject({ methods: ["lrp"], against: null });
  const rivals = place.querySelectorAll(".classes")[1]!;
  rivals.querySelectorAll("button")[1]!.click();
  await settle();
  expect(server.jobs.at(-1)).toMatchObject({ methods: ["gradient", "lrp"], against: "two" });
});

test("what an audit found before is heard with the map, and counts for the whole network", async () => {
  await show(<Why network={network} />);
  const verdict = { word: "partly", reasons: ["Some of it has no rule."], by: "the audit" };
  await server.stream().tell("map", { ...map, verdict });
  expect(audits.value.get("digits-cnn")?.get("gradient")?.word).toBe("partly");
  expect(place.textContent).toContain("1 method has a verdict.");
});

test("the maps of random weights go when they are switched off", async () => {
  await show(<Why network={network} />);
  await server.stream().tell("map", map);
  await server.stream().tell("map", { ...map, random: true });
  expect(pictures().length).toBe(2);
  const boxes = [...place.querySelectorAll<HTMLInputElement>("label:not(.method) > input")];
  boxes[0]!.click();
  await settle();
  expect(pictures().length).toBe(1);
  boxes[0]!.click();
  await settle();
});

test("what a later audit takes back is drawn after all, and the card says one thing only", async () => {
  await show(<Why network={network} />);
  const refused = { word: "not valid here", reasons: ["It is off."], by: "the audit" };
  await server.stream().tell("map", { ...map, frames: undefined, verdict: refused });
  expect(place.textContent).toContain("so its map is not drawn");
  await press("Check again");
  const audit = server.stream();
  await audit.tell("verdict", { method: "gradient", word: "valid", reasons: [] });
  expect(place.textContent).not.toContain("so its map is not drawn");
  expect(server.jobs.at(-1)).toMatchObject({ kind: "audit" });
  await audit.tell("end", { state: "done", notes: [], files: [] });
  expect(server.jobs.at(-1)).toMatchObject({ kind: "attribution", methods: expect.arrayContaining(["gradient"]) as unknown });
  await server.stream().tell("map", { ...map, verdict: { ...refused, word: "valid", reasons: [] } });
  expect(pictures().length).toBe(1);
  expect(place.textContent).toContain("computed correctly; not compared with random weights");
});

test("a map that looks like that of random weights says so", async () => {
  await show(<Why network={network} />);
  await server.stream().tell("map", map);
  await server.stream().tell("map", { ...map, random: true, likeness: 0.934, alike: true });
  expect(place.querySelector(".map-card .note")?.textContent).toContain(
    "Looks like the map of random weights (rank correlation of their sizes 0.93)",
  );
});
