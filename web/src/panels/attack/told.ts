// What the server says of attacks: on offer for a network, and of one when it has ended.
import type { End, NetworkInfo } from "../../api/types";

export type Parameter = boolean | number | string | null;

export interface OfferedAttack {
  name: string;
  family: string;
  /** What it reads of the network: gradient, score, decision, inverse. */
  access: string;
  norms: string[];
  paper: string;
  summary: string;
  /** It looks for the closest success and takes no bound. */
  minimum_norm: boolean;
  can_target: boolean;
  cost: string;
  /** The usual bound in each norm. */
  eps: Record<string, string | null>;
  parameters: Record<string, Parameter | Parameter[]>;
  /** Words that a parameter may be. */
  choices: Record<string, string[]>;
  /** Whether it takes pictures of another data set. */
  others: "no" | "may" | "must" | "towards a class";
  why_not: string | null;
}

export interface AttackEnd extends End {
  summary?: string;
  success?: boolean;
  /** The picture was misclassified before anything was done. */
  at_start?: boolean;
  distance?: number | null;
  norm?: string;
  forwards?: number;
  backwards?: number;
  became?: string;
  probability?: number;
  step?: number;
  saved?: { fools: boolean; words: string } | null;
}

/** Why two networks do not take the same pictures; `null` where they do. */
export function notComparable(one: NetworkInfo, other: NetworkInfo): string | null {
  const differ = (what: string, mine: string, others: string) =>
    `${other.name} is not comparable: ${one.name} takes ${what} of ${mine}, ${other.name} of ` +
    `${others}; expected a network of the same pictures: choose another.`;
  if (one.channels !== other.channels) {
    const words = (count: number) => (count === 1 ? "1 channel" : `${count} channels`);
    return differ("pictures", words(one.channels), words(other.channels));
  }
  const [mine, others] = [one.input_size, other.input_size];
  if (mine !== null && others !== null && (mine[0] !== others[0] || mine[1] !== others[1])) {
    return differ("pictures", mine.join("x"), others.join("x"));
  }
  return null;
}

/** What an attack reads, in words for those who never wrote one. */
export const READS: Record<string, string> = {
  gradient: "reads the gradient: it knows the network from inside",
  score: "reads the probabilities only",
  decision: "reads the predicted class only",
  inverse: "runs the network backwards",
};

/** Attacks by their family, each family in the order of the offer. */
export function families(attacks: readonly OfferedAttack[]): [string, OfferedAttack[]][] {
  const found = new Map<string, OfferedAttack[]>();
  for (const one of attacks) found.set(one.family, [...(found.get(one.family) ?? []), one]);
  return [...found];
}

export interface Wish {
  network: string;
  picture: string;
  attack: OfferedAttack;
  /** The class to lead to; `null` to lead away from the present one. */
  to: string | null;
  norm: string;
  eps: string;
  params: Record<string, Parameter>;
  /** The data set for attacks that want other pictures. */
  others: string;
}

/** What is asked of the server. */
export function requestOf(wish: Wish): Record<string, unknown> {
  const { attack, to, norm, eps } = wish;
  const others = attack.others === "must" || (attack.others === "towards a class" && to !== null);
  return {
    kind: "attack",
    network: wish.network,
    picture: wish.picture,
    attack: attack.name,
    targeted: to !== null,
    ...(to === null ? {} : { to }),
    norm,
    ...(norm in attack.eps && eps !== "" && norm !== "none" ? { eps } : {}),
    ...(Object.keys(wish.params).length > 0 ? { params: wish.params } : {}),
    ...(others ? { others: wish.others } : {}),
  };
}

/** Norm and bound for an attack: those wished for where it can, else its own usual ones. */
export function boundOf(attack: OfferedAttack, norm: string, eps: string): { norm: string; eps: string } {
  const used = attack.norms.includes(norm) ? norm : (attack.norms[0] ?? "linf");
  return { norm: used, eps: used === norm && eps !== "" ? eps : (attack.eps[used] ?? "") };
}

/** Settings as the address has them: `steps=50,rho=0.5`. */
export function parse(text: string, attack: OfferedAttack): Record<string, Parameter> {
  const found: Record<string, Parameter> = {};
  for (const part of text.split(",")) {
    const [name = "", value = ""] = part.split("=").map((word) => word.trim());
    const usual = attack.parameters[name];
    if (!Object.hasOwn(attack.parameters, name) || value === "" || Array.isArray(usual)) continue;
    if (typeof usual === "boolean") found[name] = value === "true";
    else if (value === "none") found[name] = null;
    else found[name] = Number.isFinite(Number(value)) ? Number(value) : value;
  }
  return found;
}

export function write(params: Record<string, Parameter>): string {
  return Object.entries(params)
    .map(([name, value]) => `${name}=${value ?? "none"}`)
    .join(",");
}
