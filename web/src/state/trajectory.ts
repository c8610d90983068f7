// All that a search has told: the numbers of every step, and as many of its pictures as there is
// room for. A morph has one, and each lane of the attacks.
import { type ReadonlySignal, signal } from "@preact/signals";
import type { Difference, Frame, StationTold, StepEvent } from "../api/types";
import { floats } from "../pictures/decode";

/** Bytes of pictures that a trajectory holds; beyond them pictures between the others go. */
export const MOST_BYTES = 40_000_000;

export interface Frames {
  now: Frame;
  difference: Difference;
}

/** What was told of a step besides its pictures. */
export interface Step {
  number: number;
  winner: number;
  probabilities: Float32Array;
  /** `null` where it is no number. */
  objective: number | null;
  l0: number;
  l2: number;
  linf: number;
  /** Why it is a way station; empty where it is none. */
  stations: readonly StationTold[];
  /** It is the success that is kept, the last thing that an attack tells. */
  result: boolean;
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
  private bytes = 0;
  /** Pictures of which some had to go, or never came, as the reader was too slow. */
  private stride = 1;
  private readonly changed = signal(0);
  private waiting = false;

  constructor(
    private readonly most = MOST_BYTES,
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
      stations: told.stations ?? [],
      result: told.result ?? false,
    });
    if (told.frames !== undefined && (at % this.stride === 0 || this.matters(at))) {
      this.kept.set(at, told.frames);
      this.bytes += size(told.frames);
      while (this.bytes > this.most && this.thin());
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

  /** What the pictures take, in bytes. */
  get size(): number {
    return this.bytes;
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
    return this.steps.flatMap(({ stations }, at) =>
      stations.length === 0 ? [] : [{ at, why: stations.map(inWords) }],
    );
  }

  /** Whether the step at a place is one whose picture is kept while there is room at all. */
  private matters(at: number): boolean {
    const step = this.steps[at] as Step;
    return this.steps[at - 1]?.winner !== step.winner || step.stations.length > 0 || step.result;
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
      this.bytes -= size(frames);
      gone += 1;
    }
    if (gone > 0 || between > 0) return true;
    // Where all that is left matters, the oldest but the first goes: the bound is a bound.
    for (const [at, frames] of this.kept) {
      if (at === 0 || at === last) continue;
      this.kept.delete(at);
      this.bytes -= size(frames);
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

function inWords({ why, share }: StationTold): string {
  return why === "winner" ? "a new winner" : `the target ${why} ${share}`;
}

function size({ now, difference }: Frames): number {
  return now.pixels.length + difference.pixels.length;
}
