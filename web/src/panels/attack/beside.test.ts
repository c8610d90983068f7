import { afterEach, expect, test, vi } from "vitest";
import { networkName } from "../../state/sentence";
import { network, studio } from "../../state/studio";
import { server } from "../../testing";
import { beside, otherNetwork, second, wishOf } from "./lanes";

afterEach(() => vi.unstubAllGlobals());

const apgd = { name: "apgd", norms: ["linf"], eps: { linf: "0.1" }, parameters: {}, why_not: null };
const info = (name: string, labels: string[]) => ({
  name,
  labels,
  channels: 1,
  input_size: null,
  offers: { attack: { attacks: [apgd] } },
});

test("a second network is asked for beside the first, and without a class of it nothing is compared", async () => {
  server.start(vi.stubGlobal);
  const other = { ...info("b", ["x", "y"]), beside: "b has 2 classes and a 2; none is called the same" };
  server.answers.set("api/network?name=b&other=a", () => other);
  server.answers.set("api/network?name=c&other=a", () => ({ ...info("c", ["dog", "y"]), beside: "one is" }));
  const named = (name: string) => ({ name, state: "ready" as const, problem: null });
  studio.value = { version: "1", networks: ["a", "b", "c"].map(named), data: [] };
  networkName.value = "a";
  network.value = info("a", ["dog", "cat"]);
  beside.value = "network";
  otherNetwork.value = "b";
  await vi.waitFor(() => expect(second.value?.name).toBe("b"));
  expect(wishOf(1)).toBe("b has 2 classes and a 2; none is called the same.");
  expect(wishOf(0)).toMatchObject({ network: "a" });
  otherNetwork.value = "c";
  await vi.waitFor(() => expect(second.value?.name).toBe("c"));
  expect(wishOf(1)).toMatchObject({ network: "c" });
});
