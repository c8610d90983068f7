// What jobs tell of portraits and samples, and what the server offers of them.
import type { Frame } from "../../api/types";

/** Event `picture`: a portrait as it forms, and at its end what it is worth. */
export interface PortraitTold {
  class: number;
  step: number;
  share: number;
  probability: number;
  final: boolean;
  frames?: { now: Frame };
  winner?: number | string;
  /** What is to be said of it, a line each; the first is how sure the network is. */
  words?: string[];
  headline?: string;
  flags?: Flag[];
  measures?: Measure[];
  /** What was not measured, and why. */
  not_measured?: string[];
}

export interface Flag {
  name: string;
  words: string;
  /** Whether the good numbers are none; else it is worth knowing. */
  spoils: boolean;
}

export interface Measure {
  name: string;
  /** The number in words. */
  words: string;
  real?: string | null;
  noise?: string | null;
}

/** Event `told`: of all of them, and what not to conclude. */
export interface Told {
  summary: string;
  notes: string[];
}

/** Event `sample`: pictures of a class from a fitted generator. */
export interface SampleTold {
  class: number;
  words: string[];
  frames?: { now: Frame[] };
}

export interface Preset {
  name: string;
  shows: string;
  when: string;
  needs: string;
  cost: string;
  caution: string;
  steps: number;
  why_not: string | null;
}

export interface PortraitOffer {
  presets: Preset[];
  usual: string;
  notes: string[];
}

/** Presets that are sound on this network, and those that are not. */
export function sorted(presets: Preset[]): { sound: Preset[]; refused: Preset[] } {
  return {
    sound: presets.filter((one) => one.why_not === null),
    refused: presets.filter((one) => one.why_not !== null),
  };
}

/** The latest of each class; what ends a portrait is never replaced by a look on the way. */
export function withPortrait(
  portraits: ReadonlyMap<number, PortraitTold>,
  told: PortraitTold,
): ReadonlyMap<number, PortraitTold> {
  const before = portraits.get(told.class);
  if (before?.final && !told.final) return portraits;
  // A slow reader gets numbers whose picture is gone: the last one that came stays.
  const frames = told.frames ?? before?.frames;
  return new Map(portraits).set(told.class, { ...told, frames });
}

/** Whose portraits are made: of the present class and the wanted one, and where a picture has got
 * there already, of the class that it had at the start. -1 is of none. */
export function pairOf(now: number, start: number, wanted: number) {
  const pair = [
    now === wanted ? { of: start, role: "the class at the start" } : { of: now, role: "the present class" },
    { of: wanted, role: "the wanted class" },
  ].filter(({ of }, index) => of >= 0 && (index === 1 || of !== wanted));
  return { classes: pair.map(({ of }) => of), roles: pair.map(({ role }) => role) };
}
