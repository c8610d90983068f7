import { expect, test } from "vitest";
import { requestOf } from "./morphing";

const said = {
  network: "digits-cnn",
  picture: "digits:7",
  to: "2",
  direction: "sign",
  norm: "linf",
  eps: "8/255",
  steps: 40,
};

test("a step is an equal part of the bound, as an exact fraction", () => {
  expect(requestOf(said)).toMatchObject({ kind: "morph", eps: "8/255", step_size: "8/10200" });
  expect(requestOf({ ...said, eps: "0.3" })).toMatchObject({ eps: "0.3", step_size: "0.3/40" });
});

test("without a bound, or with steps of another unit, the length of a step is the library's", () => {
  expect(requestOf({ ...said, norm: "none" })).toMatchObject({ eps: null });
  expect(requestOf({ ...said, norm: "none" })).not.toHaveProperty("step_size");
  expect(requestOf({ ...said, direction: "raw" })).not.toHaveProperty("step_size");
});
