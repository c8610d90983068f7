// The morph of the sentence: it runs whenever the sentence is another, and is looked at step by
// step. What stands here is what the panels, the keys and the address share.
import { batch, computed, effect, signal } from "@preact/signals";
import { largestChange } from "../pictures/signed";
import { announce } from "./announce";
import { choice } from "./choices";
import { calm, Playback } from "./playback";
import { Search } from "./search";
import {
  direction,
  eps,
  networkName,
  norm,
  picture,
  type Sentence,
  sentence,
  steps,
  wanted,
} from "./sentence";
import { shownStep } from "./shown";
import { network } from "./studio";

/** The number of the step that is looked at; -1 where nothing was chosen. */
export const at = choice("at", -1, "replace");
/** How many times the change is drawn larger; 0 for as many as give the bound the full colour. */
export const times = choice("times", 0, "replace");
/** The change of one pixel value that the sentence allows. */
export const bound = computed(() => largestChange(norm.value, eps.value));

export const morph = new Search();

export const playback = new Playback(() => {
  const { steps, plan } = morph.trajectory.peek();
  return { count: steps.length, planned: plan.steps + 1, open: morph.open };
});

/** Why a morph waits for a click, in one sentence; `null` where it does not. */
export const waits = signal<string | null>(null);

/** Seconds without another change after which a morph is begun, where one change follows another. */
const SETTLED = 0.25;
/** Seconds that a morph may take and still begin by itself. */
const PATIENCE = 20;

/** What a step takes on a network, in milliseconds, as it was measured last. */
const paces = new Map<string, number>();

/** A first visit: nothing is chosen, and what is seen first is half-way through. */
let first = location.search === "";
let timer: ReturnType<typeof setTimeout> | undefined;
/** What was asked for last, and the words of the sentence by which it was. */
let begun: { wish: string; words: string; network: string } | null = null;
let changed = -Infinity;
/** What the page itself wrote into `at`: anything else came from the address. */
let written = at.peek();
/** The step of an entry of the history that was gone back to, whose sentence is another. */
let returned: number | null = null;

/** What a sentence asks of the server. */
export function requestOf(said: Sentence): Record<string, unknown> {
  const bound = said.norm === "none" || said.eps === "" ? null : said.eps;
  return {
    kind: "morph",
    network: said.network,
    picture: said.picture,
    to: said.to,
    direction: said.direction,
    norm: said.norm,
    eps: bound,
    steps: said.steps,
  };
}

/** Begin the morph of the sentence now, whatever it costs. */
export function run(): void {
  const said = sentence.peek();
  if (said === null) return;
  clearTimeout(timer);
  waits.value = null;
  const start = at.peek();
  morph.run(requestOf(said));
  if (start >= 0) playback.go(start);
  else if (first) first = halfWay(said);
  else if (calm()) playback.go(said.steps);
  else playback.play(0);
}

/** Go to the middle, and on from there. */
function halfWay({ steps }: Sentence): false {
  const middle = Math.floor(steps / 2);
  playback.go(middle);
  if (!calm()) {
    const stop = effect(() => {
      void morph.trajectory.value.version.value;
      if (playback.position.value < middle) return;
      playback.play();
      queueMicrotask(() => stop());
    });
  }
  return false;
}

/** Seconds that it would take, and whether that is known. */
function costOf(said: Sentence): { seconds: number; measured: boolean } {
  const pace = paces.get(said.network);
  if (pace !== undefined) return { seconds: (pace * said.steps) / 1000, measured: true };
  const [height, width] = network.peek()?.input_size ?? [32, 32];
  // About a step of a small mobile network on one core, for each pixel: no more than a guess.
  return { seconds: height * width * said.steps * 1e-6, measured: false };
}

function why(said: Sentence): string | null {
  const { seconds, measured } = costOf(said);
  if (seconds <= PATIENCE) return null;
  const long = measured ? `takes about ${Math.round(seconds)} seconds` : "may take long";
  return `${said.steps} steps on this network ${long}, so it does not begin by itself.`;
}

effect(() => {
  const said = sentence.value;
  if (said === null) return;
  const wish = JSON.stringify(requestOf(said));
  if (wish === begun?.wish) return;
  clearTimeout(timer);
  const fresh = begun === null;
  const hurried = performance.now() - changed < 1000 * SETTLED;
  changed = performance.now();
  timer = setTimeout(
    () => {
      begun = { wish, words: words(), network: said.network };
      batch(() => {
        if (returned !== null || !fresh) at.value = written = returned ?? -1;
        returned = null;
        shownStep.value = null;
        const reason = why(said);
        waits.value = reason;
        if (reason === null) return run();
        playback.pause();
        morph.clear();
      });
    },
    hurried && !fresh ? 1000 * SETTLED : 0,
  );
});

// The choices listen before: they have read the address by now.
addEventListener("popstate", () => {
  returned = words() === begun?.words ? null : at.peek();
});

function words(): string {
  const said = [networkName, picture, wanted, direction, norm, eps, steps];
  return said.map((one) => one.peek()).join("\n");
}

// Numbers of one network never stand beside the classes of another.
effect(() => {
  const name = network.value?.name;
  if (begun === null || name === begun.network) return;
  begun = { wish: "", words: "", network: name ?? "" };
  batch(() => {
    shownStep.value = null;
    morph.clear();
  });
});

// What is there is gone to, and the pace is kept.
effect(() => {
  void morph.trajectory.value.version.value;
  void morph.job.standing.value;
  playback.grown();
  if (morph.pace !== null && begun !== null) paces.set(begun.network, morph.pace);
});

/** The step that is looked at; `null` before there is one. */
export const step = computed(() => {
  const trajectory = morph.trajectory.value;
  void trajectory.version.value;
  return trajectory.steps[playback.position.value] ?? null;
});

// Another step in the address, such as by the browser's own way back.
effect(() => {
  const asked = at.value;
  if (asked === written || asked < 0) return;
  written = asked;
  playback.go(asked);
});

/** End the morph, or where it has ended its playing. */
export function stop(): void {
  playback.pause();
  morph.job.cancel();
}

// What rests on the screen is what the other panels speak of, and what a link leads to.
let rest: ReturnType<typeof setTimeout> | undefined;
effect(() => {
  const now = step.value;
  const id = morph.job.id.value;
  const playing = playback.playing.value;
  clearTimeout(rest);
  if (now === null || id === null || playing || playback.waiting) return;
  rest = setTimeout(() => {
    const trajectory = morph.trajectory.peek();
    const last = !morph.open && now === trajectory.steps.at(-1);
    batch(() => {
      shownStep.value = now.number === 0 ? null : `step:${id}:${now.number}`;
      if (at.peek() >= 0 || !last) at.value = written = last ? -1 : now.number;
    });
  }, 200);
});

// A change of the winner is said to those who do not see it.
let winner: number | null = null;
effect(() => {
  const now = step.value;
  const said = now?.winner ?? null;
  if (now !== null && winner !== null && said !== winner) {
    announce(`Step ${now.number}: now predicted as ${network.peek()?.labels[now.winner] ?? said}`);
  }
  winner = said;
});
