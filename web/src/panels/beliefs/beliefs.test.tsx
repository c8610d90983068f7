import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { pictured } from "../../state/pictured";
import { present } from "../../state/present";
import { picture, wanted } from "../../state/sentence";
import { network as studioNetwork } from "../../state/studio";
import { clear, place, press, server, settle, show } from "../../testing";
import { Beliefs } from "./beliefs";
import { pairOf, type PortraitTold, withPortrait } from "./told";

const preset = { shows: "waves", when: "usual", needs: "none", cost: "512 passes", caution: "" };
const network = {
  name: "digits-cnn",
  labels: ["zero", "<b>one</b>", "two"],
  channels: 1,
  input_size: null,
  offers: {
    portrait: {
      presets: [
        { ...preset, name: "pixels", steps: 256, why_not: null },
        { ...preset, name: "fourier", steps: 512, why_not: null },
        { ...preset, name: "vital", steps: 9, why_not: "vital compares with <i>real</i> pictures" },
        { ...preset, name: "accentuation", steps: 100, why_not: null, needs: "a start" },
      ],
      usual: "fourier",
      notes: [],
    },
    samples: { why_not: "the studio was given no generator; make it by fluoroscope invert" },
  },
};
const frame = { width: 1, height: 1, channels: 1 as const, pixels: "AA==" };
const look: PortraitTold = {
  class: 1, step: 7, share: 0.1, probability: 0.4, final: false, frames: { now: frame },
};

beforeEach(() => {
  server.start(vi.stubGlobal);
  studioNetwork.value = null;
  wanted.value = "two";
  const known = {
    network: "digits-cnn",
    picture: "digits:7",
    probabilities: new Float32Array([0, 1, 0]),
    winner: 1,
    frame,
  };
  present.value = known;
  pictured.value = { ...known, label: null, notes: [] };
});

afterEach(async () => {
  await clear();
  vi.unstubAllGlobals();
});

test("portraits are of the present class and the wanted one, or of where the picture came from", () => {
  expect(pairOf(7, 7, 2).classes).toEqual([7, 2]);
  expect(pairOf(9, 7, 2).classes).toEqual([9, 2]);
  expect(pairOf(2, 7, 2)).toEqual({
    classes: [7, 2],
    roles: ["the class at the start", "the wanted class"],
  });
  expect(pairOf(2, 2, 2).classes).toEqual([2]);
  expect(pairOf(7, 7, -1).classes).toEqual([7]);
  expect(pairOf(-1, -1, -1).classes).toEqual([]);
});

test("a finished portrait stays, and one whose picture was dropped keeps the last that came", () => {
  const first = withPortrait(new Map(), look);
  const dropped = withPortrait(first, { ...look, step: 9, frames: undefined });
  expect(dropped.get(1)).toEqual({ ...look, step: 9 });
  const end = withPortrait(dropped, { ...look, final: true });
  expect(withPortrait(end, look)).toBe(end);
});

test("both form side by side, and end with their flags and what not to conclude", async () => {
  await show(<Beliefs network={network} />);
  expect(place.textContent).toContain("the studio was given no generator");
  expect(place.textContent).toContain("1 preset is not sound here");
  await press("Portraits of <b>one</b> and two");
  expect(server.jobs).toEqual([
    {
      kind: "portrait",
      network: "digits-cnn",
      classes: ["<b>one</b>", "two"],
      preset: "fourier",
      seed: 0,
    },
  ]);
  expect(place.querySelector(".note")?.textContent).toContain("not what the class looks like");
  await server.stream().tell("picture", look);
  await server.stream().tell("picture", { ...look, class: 2, probability: 0.0001 });
  expect(place.querySelectorAll("[role=img]").length).toBe(2);
  expect(place.textContent).toContain("< 0.1 %");
  const flags = [{ name: "leaks", words: "Only <u>this</u> network sees it.", spoils: true }];
  await server.stream().tell("picture", { ...look, final: true, headline: "Both are seen.", flags });
  await server.stream().tell("told", { summary: "", notes: ["No picture of a class."] });
  expect(place.querySelector(".problem")?.textContent).toBe("Only <u>this</u> network sees it.");
  expect(place.textContent).toContain("What not to conclude");
  expect(place.querySelector("b, i, u")).toBeNull();
  expect(place.querySelector(".note")?.textContent).toContain("not what the class looks like");
  await server.stream().tell("end", { state: "done", notes: [], files: ["gallery.png"] });
  expect(place.querySelector("a")?.getAttribute("href")).toBe("api/jobs/job1/files/gallery.png");
  await press("Again with another seed");
  expect(server.jobs.at(-1)).toMatchObject({ seed: 1 });
  expect(place.querySelectorAll("[role=img]").length).toBe(0);
});

test("only sound presets are offered, and one that needs a start is given the picture", async () => {
  picture.value = "digits:7";
  await show(<Beliefs network={network} />);
  const select = place.querySelector("select")!;
  expect([...select.options].map((one) => one.value)).toEqual(["pixels", "fourier", "accentuation"]);
  select.value = "accentuation";
  select.dispatchEvent(new Event("change"));
  await settle();
  await press("Portraits of <b>one</b> and two");
  expect(server.jobs.at(-1)).toMatchObject({ preset: "accentuation", picture: "digits:7" });
});

test("samples come in a row for each class, with what the network says of each", async () => {
  const offers = { ...network.offers, samples: { classes: [0, 1] } };
  await show(<Beliefs network={{ ...network, offers }} />);
  await press("Draw samples");
  expect(server.jobs.at(-1)).toMatchObject({ kind: "samples", seed: 0 });
  await server.stream().tell("sample", { class: 0, words: ["99 %", "3 %"], frames: { now: [frame, frame] } });
  expect(place.querySelectorAll(".sample-pictures [role=img]").length).toBe(2);
  await press("Others");
  expect(server.jobs.at(-1)).toMatchObject({ kind: "samples", seed: 1 });
});
