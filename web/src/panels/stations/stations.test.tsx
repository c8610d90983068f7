import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { morph } from "../../state/morphing";
import { clear, place, server, settle, show } from "../../testing";
import { registered } from "../registry";
import "./stations";

beforeEach(() => server.start(vi.stubGlobal));

afterEach(async () => {
  await clear();
  morph.clear();
  vi.unstubAllGlobals();
});

test("a target that was always above .1 is not said to have never reached it", async () => {
  const { view: View } = registered().find((one) => one.id === "stations")!;
  const labels = ["a", "b", "c", "d"];
  const network = { name: "net", labels, channels: 1, input_size: null, offers: {} };
  await show(<View network={network} />);
  morph.run({ kind: "morph" });
  await settle();
  const floats = new Float32Array([0.5, 0.23, 0.2, 0.07]);
  const probabilities = btoa(String.fromCharCode(...new Uint8Array(floats.buffer)));
  await server.stream().tell("begin", { target: 1, steps: 1 });
  const step = { winner: 0, probabilities, objective: null, l0: 0, l2: 0, linf: 0 };
  for (const number of [0, 1]) await server.stream().tell("step", { ...step, step: number });
  await server.stream().tell("end", { state: "done", notes: [], files: [] });
  await vi.waitFor(() => expect(place.textContent).toContain("crossed none of 0.1, 0.5 and 0.9"));
});
