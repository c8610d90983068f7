// The sentence that controls the page: show how NETWORK turns this PICTURE into a CLASS by STEPS.
import { computed, effect } from "@preact/signals";
import { boundProblem, DIRECTIONS, NORMS, stepsProblem, wordProblem } from "../sentence/words";
import { sayAlso, choice } from "./choices";
import { keepAgain, openDrawings, spelled } from "./drawn";
import { askOfPictures, pictured, picturedTrouble } from "./pictured";
import { network, studio } from "./studio";

/** What suits a network, as the offer of morphs says it. */
export interface Suited {
  /** A usual bound for each norm. */
  eps: Record<string, string>;
}

const suited = computed<Suited>(() => {
  const found = network.value?.offers["morph"]?.["usual"] as Partial<Suited> | undefined;
  return { eps: found?.eps ?? { linf: "0.3", l2: "2" } };
});

/** A class far from the predicted one in the order of classes: of a 7 the 2. */
const opposite = computed(() => {
  const labels = network.value?.labels ?? [];
  const winner = pictured.value?.winner ?? 0;
  return nameOf((winner + Math.floor(labels.length / 2)) % labels.length || 0, labels);
});

export const networkName = choice(
  "network",
  () => studio.value?.networks[0]?.name ?? "digits-cnn",
);
/** DATA:INDEX or kept:HASH; for a moment after a link was opened `draw:PNG`, and empty where no
 * picture on offer fits the network. */
export const picture = choice("picture", () => network.value?.picture ?? "", "push", spelled);
/** The wanted class, by its label, or by its number where several have the same. */
export const wanted = choice("to", () => opposite.value);
export const norm = choice("norm", "linf");
/** How the picture moves, in the words of `fluoroscope morph`. */
export const direction = choice("by", () => (norm.value === "linf" ? "sign" : "normalized"));
/** The bound, such as `8/255`; of no meaning where `norm` is `none`. */
export const eps = choice("eps", () => suited.value.eps[norm.value] ?? "");
export const steps = choice("steps", 40);

/** What a class is called in requests and in the address. */
export function nameOf(index: number, labels: readonly string[]): string {
  const label = labels[index];
  if (label === undefined) return String(index);
  return labels.indexOf(label) === labels.lastIndexOf(label) ? label : String(index);
}

/** The class that a name means; -1 where there is none. */
export function indexOf(name: string, labels: readonly string[]): number {
  const found = labels.indexOf(name);
  if (found >= 0 && labels.lastIndexOf(name) === found) return found;
  const number = /^\d+$/.test(name) ? Number(name) : -1;
  return number < labels.length ? number : -1;
}

openDrawings(picture);
askOfPictures(picture);
effect(() => {
  if (picturedTrouble.value?.status === 404) keepAgain(picture);
});

/** What of the sentence cannot be as it is, each in one sentence. */
export const wrongWords = computed<readonly string[]>(() => {
  const labels = network.value?.labels;
  if (labels === undefined) return [];
  const unknown =
    indexOf(wanted.value, labels) < 0
      ? `${network.value?.name} has no class “${wanted.value}”; choose one of its ${labels.length}.`
      : null;
  const found = [
    unknown,
    wordProblem(direction.value, DIRECTIONS, "way to step"),
    wordProblem(norm.value, NORMS, "norm"),
    boundProblem(norm.value, eps.value),
    stepsProblem(String(steps.value)),
  ];
  return found.filter((one) => one !== null);
});

export interface Sentence {
  network: string;
  picture: string;
  to: string;
  direction: string;
  norm: string;
  eps: string;
  steps: number;
}

/** All of it, once the network is loaded and has seen the picture; and nothing in it is wrong; a morph begins by it. */
export const sentence = computed<Sentence | null>(() => {
  const known = pictured.value;
  if (network.value === null || known === null || wrongWords.value.length > 0) return null;
  if (known.network !== network.value.name || known.picture !== picture.value) return null;
  return {
    network: network.value.name,
    picture: picture.value,
    to: wanted.value,
    direction: direction.value,
    norm: norm.value,
    eps: eps.value,
    steps: steps.value,
  };
});

// The address says every word, also those that are usual here: a link means the same elsewhere.
let read = true;
addEventListener("popstate", () => {
  read = true;
});
effect(() => {
  const said = sentence.value;
  if (said === null) return sayAlso({});
  const { network: name, to, direction: by, norm: bounded, eps: bound } = said;
  const every = { network: name, picture: spelled(said.picture), to, by, norm: bounded, eps: bound };
  sayAlso({ ...every, steps: String(said.steps) });
  // Such a word was not chosen when the address is read again.
  if (read) for (const one of [networkName, picture, wanted, direction, eps]) one.settle();
  read = false;
});
