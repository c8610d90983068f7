// Every choice on the page, kept in the address bar: a link reproduces the view.
//
//   export const steps = choice("steps", 40);
//
// is a signal that begins with what the address says, or else with the usual value, and whose
// changes are written back; usual values are left out of the address.
import { effect, signal, type Signal } from "@preact/signals";

type Value = string | number | boolean;
interface Kept {
  signal: Signal<Value>;
  usual: Value;
}

const kept = new Map<string, Kept>();

/** A choice of the page under a key of its own in the address. */
export function choice<T extends Value>(key: string, usual: T): Signal<T> {
  if (kept.has(key)) throw new Error(`two choices are called ${key}`);
  const made = signal(read(key, usual)) as Signal<T>;
  kept.set(key, { signal: made as unknown as Signal<Value>, usual });
  effect(() => {
    void made.value;
    write();
  });
  return made;
}

/** The address of what is on the screen. */
export function link(): string {
  const chosen = new URLSearchParams();
  for (const [key, { signal, usual }] of kept) {
    if (signal.peek() !== usual) chosen.set(key, String(signal.peek()));
  }
  const words = chosen.toString();
  return `${location.pathname}${words === "" ? "" : `?${words}`}${location.hash}`;
}

function read<T extends Value>(key: string, usual: T): T {
  const given = new URLSearchParams(location.search).get(key);
  if (given === null) return usual;
  if (typeof usual === "number") return (Number.isFinite(Number(given)) ? Number(given) : usual) as T;
  if (typeof usual === "boolean") return (given === "true") as T;
  return given as T;
}

function write(): void {
  if (link() !== `${location.pathname}${location.search}${location.hash}`) {
    history.replaceState(null, "", link());
  }
}
