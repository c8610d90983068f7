// What jobs tell of maps and verdicts, and what the server offers of methods.
import type { Frame } from "../../api/types";

export interface Verdict {
  /** valid, partly, the same map as X, or not valid here. */
  word: string;
  reasons: string[];
  remarks?: string[];
  /** Who says so: the audit, or the map itself. */
  by?: string;
  /** Its maps were held against those of a network with random weights. */
  compared?: boolean;
  scored?: boolean;
  /** They hardly changed with the weights. */
  unlearnt?: boolean;
  /** A map that knows nothing of the network, and scores as well. */
  no_better_than?: string | null;
}

/** Where the colours of a map begin and end. */
export interface Scale {
  start: number;
  end: number;
  signed: boolean;
}

/** Event `map`: one map, or why there is none. */
export interface MapTold {
  method: string;
  class: number;
  against: number | null;
  /** Whether it is of the network with random weights. */
  random: boolean;
  verdict: Verdict | null;
  /** What of it the map speaks, such as `7 and not 2`. */
  of?: string;
  shows?: string;
  /** What a colour means, its unit and its scale. */
  words?: string;
  scale?: Scale;
  promise?: string;
  missed?: boolean;
  doubts?: string[];
  /** Why the method gives no map of this picture. */
  why_not?: string;
  frames?: { map: Frame; over?: Frame };
  /** Of random weights: the rank correlation of its values' sizes with this network's map. */
  likeness?: number | null;
  /** So much that the audit takes the map for unchanged. */
  alike?: boolean;
}

/** Event `verdict` of an audit. */
export interface VerdictTold extends Verdict {
  method: string;
}

export interface MethodOffered {
  name: string;
  shows: string;
  promise: string;
  cost: string;
  caution: string;
  of_class: boolean;
}

export interface AttributionOffer {
  methods: MethodOffered[];
  usual: string[];
}

export const NOT_VALID = "not valid here";

/** Whether a map of this verdict may be drawn. */
export function drawable(verdict: Verdict | null): boolean {
  return verdict === null || verdict.word !== NOT_VALID;
}

/** A badge: what was measured and what came of it; green is for what nothing speaks against. */
export function badgeOf(verdict: Verdict): { words: string; look: string } {
  const { word, compared, scored, unlearnt, no_better_than: rival } = verdict;
  if (word === NOT_VALID) return { words: word, look: "bad" };
  if (!compared && !scored) {
    const right = word === "valid" ? "computed correctly" : word;
    const look = word === "partly" ? "warning" : "";
    return { words: `${right}; not compared with random weights`, look };
  }
  const doubts = [
    ...(unlearnt ? ["hardly depends on the weights"] : []),
    ...(rival ? [`no better than ${rival}`] : []),
    ...(compared ? [] : ["not compared with random weights"]),
    ...(scored ? [] : ["not scored"]),
  ];
  const good = word === "valid" && doubts.length === 0;
  const words = [word, ...doubts].join(", ");
  return { words, look: good ? "good" : unlearnt || rival || word === "partly" ? "warning" : "" };
}

/** What to say of a map beside that of random weights. */
export function likenessInWords(random: MapTold | null): string {
  if (random === null || random.likeness === undefined || random.likeness === null) return "";
  const how = `rank correlation of their sizes ${Number(random.likeness.toFixed(2))}`;
  return random.alike
    ? `Looks like the map of random weights (${how}): it shows the picture or the method, ` +
        "and not what was learnt."
    : `Beside the map of random weights: ${how}; 1 is the same order.`;
}

/** Methods by what they promise, as a person chooses among them; groups without any are left out. */
export function grouped(methods: MethodOffered[]): { title: string; methods: MethodOffered[] }[] {
  const adds = (one: MethodOffered) => !one.promise.startsWith("none");
  return [
    {
      title: "Add up to the score of the class: every part of it is somewhere on the map",
      methods: methods.filter((one) => one.of_class && adds(one)),
    },
    {
      title: "Promise nothing about what they add up to",
      methods: methods.filter((one) => one.of_class && !adds(one)),
    },
    {
      title: "The same map whatever class is asked about",
      methods: methods.filter((one) => !one.of_class),
    },
  ].filter((group) => group.methods.length > 0);
}

/** Where colours end, as a caption says it; two maps side by side each have their own. */
export function endsInWords(scale: Scale | undefined): string {
  if (scale === undefined) return "";
  const end = Number(scale.end.toPrecision(3)).toString();
  return scale.signed ? `, ±${end}` : `, 0 to ${end}`;
}
