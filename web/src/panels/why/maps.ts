// The maps on the screen, and which of them are stale: of another picture, network or class than
// what is asked about now. Stale ones stay to be seen, and say so, until they are redone.
import type { MapTold, Verdict } from "./told";
import { drawable } from "./told";

/** What maps are of. */
export interface Asked {
  network: string;
  picture: string;
  class: number;
  against: number | null;
}

/** What there is of one method: its map, and that of the network with random weights. */
export interface Drawn {
  of: Asked;
  map: MapTold;
  random: MapTold | null;
}

export type Maps = ReadonlyMap<string, Drawn>;

export function same(one: Asked, other: Asked): boolean {
  return (
    one.network === other.network &&
    one.picture === other.picture &&
    one.class === other.class &&
    one.against === other.against
  );
}

/** With what a job told of the question that it was asked. */
export function withMap(maps: Maps, of: Asked, told: MapTold): Maps {
  const before = maps.get(told.method);
  if (told.random) {
    if (before === undefined || !same(before.of, of)) return maps;
    return new Map(maps).set(told.method, { ...before, random: told });
  }
  return new Map(maps).set(told.method, { of, map: told, random: null });
}

/** Methods whose map is missing or stale, or lacks the one to compare with. */
export function lacking(maps: Maps, methods: string[], asked: Asked, random: boolean): string[] {
  return methods.filter((method) => {
    const drawn = maps.get(method);
    if (drawn === undefined || !same(drawn.of, asked)) return true;
    const comparable = drawn.map.frames !== undefined && drawn.map.why_not === undefined;
    return random && comparable && drawn.random === null;
  });
}

/** The verdict that counts: the audit's of this network, else what came with the map. */
export function verdictOf(
  audited: ReadonlyMap<string, Verdict>,
  method: string,
  drawn: Drawn | undefined,
): Verdict | null {
  return audited.get(method) ?? drawn?.map.verdict ?? null;
}

/** What a card shows: a map only where the verdict allows it. */
export function pictureOf(drawn: Drawn, verdict: Verdict | null, over: boolean) {
  if (!drawable(verdict) || !drawable(drawn.map.verdict)) return null;
  const of = (told: MapTold | null) => {
    if (told?.frames === undefined) return null;
    return over ? (told.frames.over ?? told.frames.map) : told.frames.map;
  };
  return { network: of(drawn.map), random: of(drawn.random) };
}

/** What is doubted of more than one map: it is of the network or the picture, and said once. */
export function sharedDoubts(drawn: (Drawn | undefined)[]): string[] {
  const said = drawn.flatMap((one) => one?.map.doubts ?? []);
  return [...new Set(said.filter((doubt, place) => said.indexOf(doubt) !== place))];
}
