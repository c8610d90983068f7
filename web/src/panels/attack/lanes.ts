// The attacks side by side: what each lane is of, and the one play head that all of them have.
import { computed, effect, signal } from "@preact/signals";
import { call, type Refusal } from "../../api/client";
import type { NetworkInfo } from "../../api/types";
import { largestChange } from "../../pictures/signed";
import { choice } from "../../state/choices";
import { noted, place } from "../../sentence/words";
import { calm, Playback } from "../../state/playback";
import { Search } from "../../state/search";
import { networkName, picture, wanted } from "../../state/sentence";
import { network, studio } from "../../state/studio";
import { announce } from "../../state/announce";
import { boundOf, notComparable, type OfferedAttack, parse, requestOf, type Wish } from "./told";

export type Beside = "nothing" | "attack" | "network";

export function offeredOn(found: NetworkInfo | null): OfferedAttack[] {
  return (found?.offers["attack"]?.["attacks"] as OfferedAttack[] | undefined) ?? [];
}

function firstOf(names: string[], not = ""): string {
  const there = offeredOn(network.value).filter((one) => one.why_not === null && one.name !== not);
  return names.find((name) => there.some((one) => one.name === name)) ?? there[0]?.name ?? "";
}

/** A network of the same family that was trained against attacks, else any of it, else any. */
function other(): string {
  const names = (studio.value?.networks ?? []).map(({ name }) => name);
  const family = networkName.value.split("-")[0] ?? "";
  const rest = names.filter((name) => name !== networkName.value);
  const robust = rest.filter((name) => /robust/i.test(name));
  const near = (name: string) => name.split("-")[0] === family;
  return robust.find(near) ?? rest.find(near) ?? rest[0] ?? "";
}

export const attackName = choice("attack", () => firstOf(["apgd", "pgd", "square"]));
export const beside = choice("beside", () => (isSibling(other()) ? "network" : "attack"));
export const otherAttack = choice("attack2", () => firstOf(["square", "fgsm"], attackName.value));
export const otherNetwork = choice("network2", other);
/** "away" from its class, or "into" the wanted one. */
export const goal = choice("goal", "away");
export const attackNorm = choice("anorm", () => attackOf(0)?.norms[0] ?? "linf");
export const attackEps = choice("aeps", () => attackOf(0)?.eps[attackNorm.value] ?? "");
export const settings = [choice("params", ""), choice("params2", "")] as const;

function isSibling(name: string): boolean {
  return name !== "" && name.split("-")[0] === networkName.value.split("-")[0];
}

/** The second network, with what it offers and what to know of it beside the first; loaded when
 *  it is chosen. */
export const second = signal<NetworkInfo | null>(null);
export const secondTrouble = signal<string | null>(null);

let loaded = "";
effect(() => {
  const name = otherNetwork.value;
  if (beside.value !== "network" || name === "" || network.value === null) return;
  const pair = JSON.stringify([name, network.value.name]);
  if (pair === loaded) return;
  loaded = pair;
  second.value = null;
  secondTrouble.value = null;
  void load(name, network.value.name, () => loaded === pair);
});

async function load(name: string, first: string, meant: () => boolean): Promise<void> {
  const asked = new URLSearchParams({ name, other: first });
  try {
    const found = await call<NetworkInfo>("GET", `api/network?${asked}`);
    if (meant()) second.value = found;
  } catch (problem) {
    if (!meant()) return;
    loaded = "";
    secondTrouble.value = (problem as Refusal).message;
  }
}

export const lanes = [new Search(), new Search()] as const;

/** How many lanes there are. */
export const count = computed(() => (beside.value === "nothing" ? 1 : 2));

/** The network of a lane; `null` while it is loaded. */
export function networkOf(lane: number): NetworkInfo | null {
  return lane === 1 && beside.value === "network" ? second.value : network.value;
}

/** The attack of a lane, as its network offers it. */
export function attackOf(lane: number): OfferedAttack | null {
  const name = lane === 1 && beside.value === "attack" ? otherAttack.value : attackName.value;
  return offeredOn(networkOf(lane)).find((one) => one.name === name) ?? null;
}

/** What a lane is to do, or why it cannot, in one sentence. */
export function wishOf(lane: number): Wish | string {
  const found = networkOf(lane);
  const attack = attackOf(lane);
  if (found === null) return secondTrouble.value ?? "The network is being loaded…";
  const { name: first = "", labels = [] } = network.value ?? {};
  // What fools a network for other classes says nothing of this one.
  if (found.beside && !found.labels.some((one) => labels.includes(one))) {
    return noted(found.beside.replaceAll(first, place(first)), found.name);
  }
  if (lane === 1 && beside.value === "network" && network.value !== null) {
    const why = notComparable(network.value, found);
    if (why !== null) return why;
  }
  if (attack === null) return `There is no attack of that name on ${found.name}: choose another.`;
  if (attack.why_not !== null) return attack.why_not;
  const into = goal.value === "into";
  if (into && !attack.can_target) {
    return `${attack.name} cannot lead into a class: choose another attack, or away from the class.`;
  }
  const same = lane === 0 || beside.value === "network";
  const { norm, eps } = boundOf(attack, attackNorm.value, attackEps.value);
  return {
    network: found.name,
    picture: picture.value,
    attack,
    to: into ? wanted.value : null,
    norm,
    eps,
    params: parse(settings[same ? 0 : 1].value, attack),
    others: studio.value?.data[0]?.name ?? "",
  };
}

/** The largest change that any lane allows: all of them have one scale. */
export const boundOfLanes = computed(() => {
  const wishes = [0, 1].slice(0, count.value).map(wishOf);
  return Math.max(
    ...wishes.map((wish) => (typeof wish === "string" ? 0 : largestChange(wish.norm, wish.eps))),
    1e-3,
  );
});

/** The numbers of steps that are there and that are meant, over all lanes. */
function reached(): { last: number; planned: number; open: boolean } {
  const used = lanes.slice(0, count.peek());
  const last = Math.max(0, ...used.map((lane) => lane.trajectory.peek().steps.at(-1)?.number ?? 0));
  const open = used.some((lane) => lane.open);
  const planned = Math.max(0, ...used.map((lane) => lane.trajectory.peek().plan.steps));
  return { last, planned, open };
}

/** Its positions are numbers of steps, the same for all lanes. */
export const playback = new Playback(() => {
  const { last, planned, open } = reached();
  return { count: last + 1, planned: 1 + (open ? axisOf(last, planned) : last), open };
});

/**
 * Where an axis ends while steps come: at the planned end where that is near, else at a length that
 * doubles, since a search that may ask 25,000 times is mostly over long before.
 */
export function axisOf(last: number, planned: number): number {
  let end = 400;
  while (end < last) end *= 2;
  return Math.min(Math.max(planned, last), end);
}

/** Where the axes of all lanes end. */
export const reach = computed(() => {
  for (const lane of lanes) {
    void lane.trajectory.value.version.value;
    void lane.job.standing.value;
  }
  const { last, planned, open } = reached();
  return Math.max(1, open ? axisOf(last, planned) : last);
});

/** Begin every lane that can. */
export function attack(): void {
  lanes.forEach((lane, index) => {
    const wish = index < count.peek() ? wishOf(index) : "";
    if (typeof wish === "string") lane.clear();
    else lane.run(requestOf(wish));
  });
  if (calm()) playback.go(Number.MAX_SAFE_INTEGER);
  else playback.play(0);
}

export function stop(): void {
  // To where the verdict will be said of: the last picture that comes.
  playback.go(Number.MAX_SAFE_INTEGER);
  for (const lane of lanes) lane.job.cancel();
}

// What was found is of another picture, network or attack than the page speaks of now: away with it.
const asked = computed(() => JSON.stringify([0, 1].map((lane) => wishOf(lane))));
let before = "";
effect(() => {
  const now = asked.value;
  if (before !== "" && before !== now) {
    playback.pause();
    for (const lane of lanes) lane.clear();
  }
  before = now;
});

lanes.forEach((lane, index) =>
  effect(() => {
    const end = lane.end.value as { summary?: string } | null;
    playback.grown();
    if (end?.summary !== undefined) announce(`${index === 0 ? "First" : "Second"} lane: ${end.summary}`);
  }),
);
