// All that a search has told: the numbers of every step, and as many of its pictures as there is
// room for. A morph has one, and each lane of the attacks.
import { type ReadonlySignal, signal } from "@preact/signals";
import type { Difference, Frame, StepEvent } from "../api/types";
import { floats } from "../pictures/decode";

/** Characters of base64 that a trajectory holds; beyond them pictures between the others go. */
export const MOST_CHARACTERS = 40_000_000;

export interface Frames {
  now: Frame;
  difference: Difference;
}

/** What was told of a step besides its pictures. */
export interface Step {
  number: number;
  winner: number;
  probabilities: Float32Array;
  objective: number;
  l0: number;
  l2: number;
  linf: number;
}

/** A stretch of steps, by their places, with the same winner. */
export interface Band {
  from: number;
  to: number;
  winner: number;
}

/** Why a step is worth a card of its own. */
export interface Station {
  /** Its place among the steps. */
  at: number;
  /** What happens there, in words. */
  why: string[];
}

/** What a trajectory is of; `target` is `null` where no class is wanted. */
export interface Plan {
  target: number | null;
  steps: number;
}

export class Trajectory {
  readonly steps: Step[] = [];
  original: Frame | null = null;
  plan: Plan = { target: null, steps: 0 };
  /** The largest probability that each class ever had. */
  highest = new Float32Array(0);
  private readonly kept = new Map<number, Frames>();
  private characters = 0;
  /** Pictures of which some had to go, or never came, as the reader was too slow. */
  private stride = 1;
  private readonly changed = signal(0);
  private waiting = false;

  constructor(
    private readonly most = MOST_CHARACTERS,
    /** When the page is to be told that there is more: once for each time that it paints. */
    private readonly later: (tell: () => void) => void = (tell) => requestAnimationFrame(tell),
  ) {}

  /** Counts how often there was something new; reading it hears of the next time. */
  get version(): ReadonlySignal<number> {
    return this.changed;
  }

  begin(plan: Plan, original: Frame | null): void {
    this.plan = plan;
    this.original = original;
    this.announce();
  }

  add(told: StepEvent): void {
    const at = this.steps.length;
    const probabilities = floats(told.probabilities);
    if (at === 0) this.highest = new Float32Array(probabilities.length);
    for (let index = 0; index < probabilities.length; index++) {
      const value = probabilities[index] as number;
      if (value > (this.highest[index] as number)) this.highest[index] = value;
    }
    this.steps.push({
      number: told.step,
      winner: told.winner,
      probabilities,
      objective: told.objective,
      l0: told.l0,
      l2: told.l2,
      linf: told.linf,
    });
    if (told.frames !== undefined && (at % this.stride === 0 || this.matters(at))) {
      this.kept.set(at, told.frames);
      this.characters += size(told.frames);
      while (this.characters > this.most && this.thin());
    }
    this.announce();
  }

  /** The pictures at a place, or of the nearest place that has some, with that place. */
  frames(at: number): { at: number; frames: Frames } | null {
    const exact = this.kept.get(at);
    if (exact !== undefined) return { at, frames: exact };
    let best: number | null = null;
    for (const place of this.kept.keys()) {
      if (best === null || Math.abs(place - at) < Math.abs(best - at)) best = place;
    }
    return best === null ? null : { at: best, frames: this.kept.get(best) as Frames };
  }

  /** What the pictures take, in characters. */
  get size(): number {
    return this.characters;
  }

  /** The place of a step by its number, or the last one before it. */
  placeOf(number: number): number {
    let found = 0;
    for (let at = 0; at < this.steps.length; at++) {
      if ((this.steps[at] as Step).number <= number) found = at;
    }
    return found;
  }

  bands(): Band[] {
    const found: Band[] = [];
    this.steps.forEach(({ winner }, at) => {
      const last = found.at(-1);
      if (last?.winner === winner) last.to = at;
      else found.push({ from: at, to: at, winner });
    });
    return found;
  }

  /** The changes of winner, and where the target's probability first crosses .1, .5 and .9. */
  stations(): Station[] {
    const why = new Map<number, string[]>();
    const say = (at: number, words: string) => why.set(at, [...(why.get(at) ?? []), words]);
    for (const band of this.bands().slice(1)) say(band.from, "a new winner");
    for (const [at, mark] of this.crossings()) say(at, `the target ${mark}`);
    return [...why].sort(([one], [other]) => one - other).map(([at, words]) => ({ at, why: words }));
  }

  private crossings(): [number, string][] {
    const { target } = this.plan;
    const first = this.steps[0];
    if (target === null || first === undefined) return [];
    const found: [number, string][] = [];
    for (const mark of [0.1, 0.5, 0.9]) {
      const start = first.probabilities[target] as number;
      const at = this.steps.findIndex(({ probabilities }) => {
        const value = probabilities[target] as number;
        return start < mark ? value >= mark : value < mark;
      });
      if (at > 0) found.push([at, `${start < mark ? "reaches" : "falls below"} ${mark}`]);
    }
    return found;
  }

  /** Whether the step at a place is one whose picture is kept whatever there is room for. */
  private matters(at: number): boolean {
    const step = this.steps[at] as Step;
    const before = this.steps[at - 1];
    if (before === undefined || before.winner !== step.winner) return true;
    const { target } = this.plan;
    if (target === null) return false;
    const [was, is] = [before.probabilities[target] as number, step.probabilities[target] as number];
    return [0.1, 0.5, 0.9].some((mark) => was < mark !== is < mark);
  }

  /** Let every second picture go, of those between what matters; whether there were any. */
  private thin(): boolean {
    const last = this.steps.length - 1;
    this.stride *= 2;
    let gone = 0;
    let between = 0;
    for (const [at, frames] of this.kept) {
      if (at === last || this.matters(at)) continue;
      between += 1;
      if (at % this.stride === 0) continue;
      this.kept.delete(at);
      this.characters -= size(frames);
      gone += 1;
    }
    if (gone > 0 || between > 0) return true;
    // Where all that is left matters, the oldest but the first goes: the bound is a bound.
    for (const [at, frames] of this.kept) {
      if (at === 0 || at === last) continue;
      this.kept.delete(at);
      this.characters -= size(frames);
      return true;
    }
    return false;
  }

  private announce(): void {
    if (this.waiting) return;
    this.waiting = true;
    this.later(() => {
      this.waiting = false;
      this.changed.value += 1;
    });
  }
}

function size({ now, difference }: Frames): number {
  return now.pixels.length + difference.pixels.length;
}
