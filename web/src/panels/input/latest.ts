// What changes faster than it can be answered: at most one question is under way, and the last one
// is always asked.

export interface Latest<T> {
  ask: (value: T) => void;
  /** Ask no more; what is under way is not told. */
  stop: () => void;
}

export function latest<T>(send: (value: T, meant: () => boolean) => Promise<void>): Latest<T> {
  let waiting: { value: T } | null = null;
  let busy = false;
  let stopped = false;

  async function next(): Promise<void> {
    busy = true;
    while (waiting !== null && !stopped) {
      const { value } = waiting;
      waiting = null;
      // An answer is told though a newer drawing waits: it is the newest that there is.
      await send(value, () => !stopped).catch(() => undefined);
    }
    busy = false;
  }

  return {
    ask(value) {
      waiting = { value };
      if (!busy && !stopped) void next();
    },
    stop() {
      stopped = true;
      waiting = null;
    },
  };
}
