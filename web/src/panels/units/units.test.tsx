import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { link } from "../../state/choices";
import { morph } from "../../state/morphing";
import { present } from "../../state/present";
import { picture } from "../../state/sentence";
import { shownStep } from "../../state/shown";
import { network as studioNetwork } from "../../state/studio";
import { clear, place, press, server, settle, show } from "../../testing";
import { bar, largest, signed } from "./told";
import { Units } from "./units";

const network = {
  name: "digits-cnn",
  labels: ["zero", "one"],
  channels: 1,
  input_size: null,
  offers: {
    units: { layers: [{ name: "5", units: 64, kind: "channels" }], usual: "5", data: "digits" },
  },
};
const frame = { width: 1, height: 1, channels: 1 as const, pixels: "AA==" };
const told = {
  layer: "5",
  summary: "<b>7</b> has 98.8 %.",
  rows: [
    { unit: 5, effect: 2, words: "spoke for <i>one</i>" },
    { unit: 9, effect: -1, words: "spoke against one" },
  ],
  notes: [],
  key: "",
  pair: [1, 0],
  complete: false,
};

function rest(at: string): void {
  present.value = {
    network: "digits-cnn",
    picture: at,
    probabilities: new Float32Array([0.2, 0.8]),
    winner: 1,
    frame,
  };
}

beforeEach(() => {
  vi.stubGlobal("IntersectionObserver", undefined);
  server.start(vi.stubGlobal);
  studioNetwork.value = null;
  picture.value = "digits:7";
  rest("digits:7");
});

afterEach(async () => {
  await clear();
  shownStep.value = null;
  vi.unstubAllGlobals();
});

test("a bar begins in the middle and goes to the side of its sign, all on one scale", () => {
  expect(bar(2, 2)).toEqual({ left: 50, width: 50 });
  expect(bar(-1, 2)).toEqual({ left: 25, width: 25 });
  expect(bar(0, 0)).toEqual({ left: 50, width: 0 });
  expect(largest([{ unit: 1, words: "", before: -3, after: 1 }, { unit: 2, words: "", effect: 2 }])).toBe(3);
  expect([2.581, -0.0001234, 0].map(signed)).toEqual(["+2.58", "−1.2e-4", "+0"]);
});

test("who decided about the picture on the screen, with favourites as they come", async () => {
  await show(<Units network={network} />);
  expect(server.jobs).toEqual([{ kind: "units", network: "digits-cnn", picture: "digits:7" }]);
  await server.stream().tell("units", told);
  expect(place.textContent).toContain("<b>7</b> has 98.8 %.");
  expect(place.querySelector("b, i")).toBeNull();
  expect(place.textContent).toContain("being looked for");
  expect(place.querySelector(".bars-ends")?.textContent).toBe("← for zero, −2.00for one, +2.00 →");
  const liked = { unit_5: [frame, frame], unit_9: [frame] };
  const rows = told.rows.map((row) => ({ ...row, favourites: [{ picture: "digits:1", words: "a 5" }] }));
  await server.stream().tell("units", { ...told, rows, complete: true, data: "digits", frames: liked });
  const favourites = () => place.querySelectorAll("[aria-label^=favourite]").length;
  expect(favourites()).toBe(2);
  place.querySelectorAll<HTMLElement>(".unit-row")[1]!.click();
  await settle();
  expect(favourites()).toBe(1);
  expect(place.querySelector(".unit h3")?.textContent).toBe("Unit 9 of layer 5");
  const none = rows.map((row) => ({ ...row, favourites: [] }));
  await server.stream().tell("units", { ...told, rows: none, complete: true, data: "digits" });
  expect(place.textContent).toContain("None of the pictures of digits that were read activates it.");
});

test("who turned is asked between the start and the frame on the screen, once there is one", async () => {
  await show(<Units network={network} />);
  await press("who turned since the start");
  expect(server.jobs.length).toBe(1);
  expect(place.textContent).toContain("Nothing has moved yet");
  await server.stream().tell("units", told);
  shownStep.value = "step:x:3";
  await settle();
  expect(server.jobs.length).toBe(1);
  expect(place.querySelector(".stale")?.textContent).toContain("not redone yet");
  rest("step:x:3");
  await settle();
  expect(server.jobs.at(-1)).toMatchObject({ picture: "digits:7", other: "step:x:3" });
  const rows = [{ unit: 5, before: 2, after: -1, turned: true, words: "turned to zero" }];
  await server.stream().tell("units", { ...told, rows });
  expect(place.querySelector(".stale")).toBeNull();
  expect(place.querySelectorAll(".unit-fill.before.for, .unit-fill.after.against").length).toBe(2);
  await press("who decided");
});

test("any step is marked, or a way station chosen, to compare the one on the screen with", async () => {
  const step = (number: number, winner: number) => ({
    step: number,
    winner,
    probabilities: btoa(String.fromCharCode(...new Uint8Array(new Float32Array([0.5, 0.5]).buffer))),
    objective: null,
    l0: 0,
    l2: 0,
    linf: 0,
    stations: number === 2 ? [{ why: "winner" as const }] : [],
  });
  const steps = [step(0, 1), step(1, 1), step(2, 0), step(3, 0)];
  steps.forEach((one) => morph.trajectory.value.add(one));
  shownStep.value = "step:x:1";
  rest("step:x:1");
  await show(<Units network={network} />);
  await press("who turned since the start");
  await press("Compare with step 1");
  expect(place.textContent).toContain("This is the step that is compared with");
  shownStep.value = "step:x:3";
  rest("step:x:3");
  await settle();
  expect(server.jobs.at(-1)).toMatchObject({ picture: "step:x:1", other: "step:x:3" });
  expect(link()).toContain("since=1");
  await server.stream().tell("begin", { command: "trace --image PICTURE.npy --against OTHER.npy" });
  // The file that the command begins from is that of the step compared with.
  expect(place.querySelector("a[download]")?.getAttribute("href")).toContain("name=step%3Ax%3A1");
  await server.stream().tell("units", told);
  expect(place.textContent).toContain("From step 1 to step 3");
  const chosen = place.querySelector<HTMLSelectElement>("select")!;
  expect([...chosen.options].map((one) => one.textContent)).toEqual([
    "the start",
    "step 1, marked",
    "step 2: zero, a new winner",
  ]);
  chosen.value = "2";
  chosen.dispatchEvent(new Event("change"));
  await settle();
  expect(server.jobs.at(-1)).toMatchObject({ picture: "step:x:2", other: "step:x:3" });
  // Of a step that there is not the start is taken.
  chosen.value = "0";
  chosen.dispatchEvent(new Event("change"));
  await settle();
  expect(server.jobs.at(-1)).toMatchObject({ picture: "digits:7", other: "step:x:3" });
  await press("who decided");
  morph.clear();
});
