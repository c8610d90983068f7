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

/** Methods that were refused for what an audit said, which a later one took back. */
export function pardoned(
  maps: Maps,
  methods: string[],
  audited: ReadonlyMap<string, Verdict>,
): string[] {
  return methods.filter((method) => {
    const refused = maps.get(method)?.map.verdict ?? null;
    return byAudit(refused) && !drawable(refused) && drawable(audited.get(method) ?? refused);
  });
}

function byAudit(verdict: Verdict | null): boolean {
  return verdict !== null && (verdict.by ?? "the audit") === "the audit";
}

/** Methods whose map is missing or stale, or lacks the one to compare with. */
export function lacking(
  maps: Maps,
  methods: string[],
  asked: Asked,
  random: boolean,
  again: string[] = [],
): string[] {
  return methods.filter((method) => {
    const drawn = maps.get(method);
    if (drawn === undefined || !same(drawn.of, asked) || again.includes(method)) return true;
    const comparable = drawn.map.frames !== undefined && drawn.map.why_not === undefined;
    return random && comparable && drawn.random === null;
  });
}

/**
 * The one verdict that counts, for the badge and for what is drawn: what a map says against itself,
 * else the audit's newest of this network, else what came with the map.
 */
export function verdictOf(
  audited: ReadonlyMap<string, Verdict>,
  method: string,
  drawn: Drawn | undefined,
): Verdict | null {
  const own = drawn?.map.verdict ?? null;
  if (own !== null && !byAudit(own) && !drawable(own)) return own;
  return audited.get(method) ?? own;
}

/** What a card shows: a map only where the verdict allows it. */
export function pictureOf(drawn: Drawn, verdict: Verdict | null, over: boolean) {
  if (!drawable(verdict) || drawn.map.frames === undefined) return null;
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
