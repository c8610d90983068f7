// Every choice on the page, kept in the address bar: a link reproduces the view.
//
//   export const steps = choice("steps", 40);
//
// is read and written like a signal. It begins with what the address says, or else with the usual
// value, which is left out of the address. What is usual may depend on other choices:
//
//   export const eps = choice("eps", () => suited.value.eps);
//
// and then the address says it, too, by `sayAlso`: elsewhere something else may be usual.
//
// Choices that change together are one entry of the browser's history; those that follow the view,
// such as the step that is looked at, replace the entry: choice("step", 0, "replace").
import { batch, computed, effect, type ReadonlySignal, signal, type Signal } from "@preact/signals";

type Value = string | number | boolean;
type How = "push" | "replace";

/** What the address said and could not be meant, each in one sentence. */
export const misread = signal<readonly string[]>([]);
/** How often the address has changed: whoever shows a link reads it anew. */
export const readdressed = signal(0);

const kept = new Map<string, Choice<Value>>();
/** What the address says, also of choices that are not made yet. */
let address = new URLSearchParams(location.search);
let waiting: How | null = null;
/** What is usual here and said nevertheless, by its key. */
let also: Readonly<Record<string, string>> = {};

export class Choice<T extends Value = Value> {
  private readonly chosen: Signal<T | null>;
  private readonly now: ReadonlySignal<T>;
  private next: How | null = null;

  constructor(
    readonly key: string,
    private readonly usual: () => T,
    private readonly how: How,
    /** How the address spells a value, where not as it is. */
    private readonly spell: (value: T) => string,
  ) {
    this.chosen = signal(this.read());
    this.now = computed(() => this.chosen.value ?? this.usual());
    let first = true;
    effect(() => {
      void this.chosen.value;
      if (!first) write(this.next ?? this.how);
      first = false;
      this.next = null;
    });
  }

  get value(): T {
    return this.now.value;
  }

  set value(value: T) {
    this.chosen.value = value === this.usual() ? null : value;
  }

  peek(): T {
    return this.now.peek();
  }

  /** Another value in the same entry of the history: Back does not lead to the one before. */
  replace(value: T): void {
    this.next = "replace";
    this.value = value;
    this.next = null;
  }

  subscribe(hear: (value: T) => void): () => void {
    return this.now.subscribe(hear);
  }

  /** Whether it was said, or is what is usual. */
  get said(): boolean {
    return this.chosen.value !== null;
  }

  /** Back to what is usual. */
  forget(): void {
    this.chosen.value = null;
  }

  /** What is usual was not chosen, though the address says it: it goes on to follow the others. */
  settle(): void {
    if (this.chosen.peek() !== untracked(this.usual)) return;
    this.next = "replace";
    this.forget();
    this.next = null;
  }

  /** As the address has it: `null` where it is the usual value. */
  text(): string | null {
    const chosen = this.chosen.peek();
    return chosen === null ? null : this.spell(chosen);
  }

  /** Take what the address says now. */
  reread(): void {
    this.chosen.value = this.read();
  }

  private read(): T | null {
    const given = address.get(this.key);
    if (given === null) return null;
    const usual = untracked(this.usual);
    if (typeof usual === "string") return given as T;
    const meant =
      typeof usual === "number" ? Number(given) : given === "true" || (given === "false" ? false : NaN);
    if (given !== "" && !Number.isNaN(meant)) return meant as T;
    misread.value = [
      ...misread.peek(),
      `The link says ${this.key}=${given}; expected ${
        typeof usual === "number" ? "a number" : "true or false"
      }, so the usual ${usual} is taken.`,
    ];
    return null;
  }
}

/** A choice of the page under a key of its own in the address. */
export function choice<T extends Value>(
  key: string,
  usual: T | (() => T),
  how: How = "push",
  spell: (value: T) => string = String,
): Choice<Widened<T>> {
  if (kept.has(key)) throw new Error(`two choices are called ${key}`);
  const made = new Choice(key, typeof usual === "function" ? usual : () => usual, how, spell);
  kept.set(key, made as unknown as Choice<Value>);
  return made as unknown as Choice<Widened<T>>;
}

type Widened<T> = T extends string ? string : T extends number ? number : boolean;

/** The address of what is on the screen, from the path on. */
export function link(): string {
  const words = new URLSearchParams(also);
  for (const [key, value] of address) {
    // A token is no part of a view, and a link is given away.
    if (!kept.has(key) && key !== "token") words.set(key, value);
  }
  for (const [key, one] of kept) {
    const text = one.text();
    if (text !== null) words.set(key, text);
  }
  const said = words.toString();
  return `${location.pathname}${said === "" ? "" : `?${said}`}${location.hash}`;
}

function write(how: How): void {
  if (waiting === null) queueMicrotask(flush);
  if (waiting !== "push") waiting = how;
}

function flush(): void {
  const how = waiting;
  waiting = null;
  if (link() === `${location.pathname}${location.search}${location.hash}`) return;
  if (how === "push") {
    // What the link said is behind.
    misread.value = [];
    history.pushState(null, "", link());
  } else history.replaceState(null, "", link());
  address = new URLSearchParams(location.search);
  readdressed.value++;
}

/** From now on the address says these words, too, where nothing else was chosen. */
export function sayAlso(words: Readonly<Record<string, string>>): void {
  also = words;
  write("replace");
}

addEventListener("popstate", () => {
  address = new URLSearchParams(location.search);
  batch(() => {
    misread.value = [];
    for (const one of kept.values()) one.reread();
    readdressed.value++;
  });
});

function untracked<T>(read: () => T): T {
  return computed(read).peek();
}
