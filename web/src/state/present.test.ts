import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { present, presentTrouble, REST, spoken } from "./present";
import { shownStep } from "./shown";
import { network } from "./studio";

const asked: { picture: string; answer: (response: Response) => void }[] = [];
const known = { frame: null, probabilities: "AACAPw==", winner: 0, notes: [] };

beforeEach(() => {
  vi.useFakeTimers();
  asked.length = 0;
  vi.stubGlobal("fetch", (_: string, { body }: { body?: string }) => {
    const { picture } = JSON.parse(body ?? "{}") as { picture?: string };
    return new Promise<Response>((answer) => asked.push({ picture: picture ?? "", answer }));
  });
  network.value = { name: "n", labels: ["a"], channels: 1, input_size: null, offers: {} };
});

afterEach(() => {
  network.value = null;
  shownStep.value = null;
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const steps = () => asked.filter((one) => one.picture.startsWith("step:"));

test("a running trajectory is asked about where it rests alone", async () => {
  for (const number of [1, 2, 3]) {
    shownStep.value = `step:j:${number}`;
    await vi.advanceTimersByTimeAsync(REST - 1);
  }
  expect(steps()).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(steps().map((one) => one.picture)).toEqual(["step:j:3"]);
  steps()[0]!.answer(Response.json(known));
  await vi.advanceTimersByTimeAsync(0);
  expect(present.value?.picture).toBe("step:j:3");
  expect([...present.value!.probabilities]).toEqual([1]);
});

test("an answer that comes when another picture is looked at is not taken for its own", async () => {
  shownStep.value = "step:j:4";
  await vi.advanceTimersByTimeAsync(REST);
  shownStep.value = "step:j:5";
  steps()[0]!.answer(Response.json({ detail: "gone" }, { status: 404 }));
  await vi.advanceTimersByTimeAsync(0);
  expect(presentTrouble.value).toBeNull();
  await vi.advanceTimersByTimeAsync(REST);
  steps()[1]!.answer(Response.json({ detail: "The job is gone." }, { status: 404 }));
  await vi.advanceTimersByTimeAsync(0);
  expect(presentTrouble.value).toBe("The job is gone.");
});

test("a picture is called by what a person knows of it", () => {
  expect(["step:a:b:12", "kept:0f", "digits:7"].map(spoken)).toEqual([
    "step 12",
    "the picture that you brought",
    "picture digits:7",
  ]);
});
