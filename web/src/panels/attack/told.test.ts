import { expect, test } from "vitest";
import { boundOf, families, notComparable, type OfferedAttack, parse, requestOf, write } from "./told";

const pgd: OfferedAttack = {
  name: "pgd",
  family: "gradient",
  access: "gradient",
  norms: ["linf", "l2"],
  paper: "",
  summary: "",
  minimum_norm: false,
  can_target: true,
  cost: "",
  eps: { linf: "8/255", l2: "0.5" },
  parameters: { steps: 40, random_start: true, step_size: null, loss: "ce", sizes: [1, 2] },
  choices: { loss: ["ce", "dlr"] },
  others: "no",
  why_not: null,
};
const boundary: OfferedAttack = {
  ...pgd,
  name: "boundary",
  family: "decision",
  norms: ["l2"],
  eps: {},
  minimum_norm: true,
  others: "towards a class",
};
const wish = {
  network: "n",
  picture: "digits:7",
  attack: pgd,
  to: null,
  norm: "linf",
  eps: "4/255",
  params: {},
  others: "digits",
};

test("an untargeted attack asks for no class, and one without a bound for none", () => {
  expect(requestOf(wish)).toEqual({
    kind: "attack",
    network: "n",
    picture: "digits:7",
    attack: "pgd",
    targeted: false,
    norm: "linf",
    eps: "4/255",
  });
  const far = requestOf({ ...wish, attack: boundary, norm: "l2", to: "2" });
  expect(far).toEqual({
    kind: "attack",
    network: "n",
    picture: "digits:7",
    attack: "boundary",
    targeted: true,
    to: "2",
    norm: "l2",
    others: "digits",
  });
  expect(requestOf({ ...wish, attack: boundary, norm: "l2" })).not.toHaveProperty("others");
});

test("an attack that cannot have the norm has its own, with its own bound", () => {
  expect(boundOf(pgd, "linf", "4/255")).toEqual({ norm: "linf", eps: "4/255" });
  expect(boundOf(boundary, "linf", "4/255")).toEqual({ norm: "l2", eps: "" });
  expect(boundOf(pgd, "l1", "4/255")).toEqual({ norm: "linf", eps: "8/255" });
});

test("settings come out of the address as they went in, and what is none of them is left out", () => {
  const settings = { steps: 50, random_start: false, step_size: 0.01, loss: "dlr" };
  expect(parse(write(settings), pgd)).toEqual(settings);
  expect(parse("step_size=none", pgd)).toEqual({ step_size: null });
  expect(parse("constructor=1,sizes=2,steps=,nothing", pgd)).toEqual({});
});

test("attacks are offered by family", () => {
  expect(families([pgd, boundary, { ...pgd, name: "fgsm" }])).toEqual([
    ["gradient", [pgd, { ...pgd, name: "fgsm" }]],
    ["decision", [boundary]],
  ]);
});

test("networks are comparable that take the same pictures", () => {
  const one = { name: "one", labels: ["a", "b"], channels: 3, input_size: null, offers: {} };
  const sized = (...input_size: [number, number]) => ({ ...one, name: "two", input_size });
  expect(notComparable(one, { ...one, name: "two", labels: ["b", "a"] })).toBeNull();
  expect(notComparable(one, sized(28, 28))).toBeNull();
  expect(notComparable(sized(224, 224), sized(28, 28))).toContain("28x28");
  expect(notComparable(one, { ...one, name: "two", channels: 1 })).toContain("1 channel;");
});
