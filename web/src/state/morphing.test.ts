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

test("the length of a step is left to the studio, whose default anybody gets", () => {
  expect(requestOf(said)).toEqual({
    kind: "morph",
    network: "digits-cnn",
    picture: "digits:7",
    to: "2",
    direction: "sign",
    norm: "linf",
    eps: "8/255",
    steps: 40,
  });
  expect(requestOf({ ...said, norm: "none" })).toMatchObject({ eps: null });
});
