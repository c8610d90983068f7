// Which step of trajectories is looked at, and how it moves on by itself.
import { batch, computed, type ReadonlySignal, signal } from "@preact/signals";

/** How fast, against a whole trajectory in `WHOLE` seconds. */
export const SPEEDS = [0.25, 0.5, 1, 2, 4] as const;
const WHOLE = 4;
/** Steps for each second, at least, at the speed 1. */
const SLOWEST = 4;

/** What is played: how many steps are there, how many are meant, and whether more may come. */
export interface Played {
  count: number;
  planned: number;
  open: boolean;
}

export const calm = (): boolean =>
  typeof matchMedia === "function" && matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Playback {
  private readonly exact = signal(0);
  readonly playing = signal(false);
  readonly speed = signal<number>(1);
  private last: number | null = null;
  /** A place to go to as soon as it is there. */
  private wish: number | null = null;

  constructor(
    private readonly played: () => Played,
    private readonly nextFrame: (tick: (now: number) => void) => void = (tick) =>
      requestAnimationFrame(tick),
  ) {}

  /** The place of the step that is looked at. */
  readonly position: ReadonlySignal<number> = computed(() => Math.floor(this.exact.value));

  /** Go to a place and stay there; one that is not there yet is gone to when it is. */
  go(place: number): void {
    batch(() => {
      this.playing.value = false;
      this.set(place);
      this.wish = place > this.exact.peek() ? place : null;
    });
  }

  /** Whether it is on its way to a step that is not there yet. */
  get waiting(): boolean {
    return this.wish !== null;
  }

  /** One step on or back. */
  step(by: number): void {
    this.go(Math.max(0, this.position.peek() + by));
    this.wish = null;
  }

  /** Move on; from the beginning where it stands at the end. */
  play(from?: number): void {
    this.wish = null;
    const { count, open } = this.played();
    const atEnd = !open && this.position.peek() >= count - 1;
    if (from !== undefined || atEnd) this.exact.value = from ?? 0;
    if (this.playing.peek()) return;
    this.playing.value = true;
    this.last = null;
    this.nextFrame(this.tick);
  }

  pause(): void {
    this.playing.value = false;
  }

  /** More steps are there, or no more will come. */
  grown(): void {
    const { count, open } = this.played();
    if (this.wish === null) return;
    this.set(this.wish);
    if (count > this.wish || !open) this.wish = null;
  }

  private set(place: number): void {
    const { count } = this.played();
    this.exact.value = Math.min(Math.max(0, place), Math.max(0, count - 1));
  }

  private readonly tick = (now: number): void => {
    if (!this.playing.peek()) return;
    const seconds = this.last === null ? 0 : Math.min(0.25, (now - this.last) / 1000);
    this.last = now;
    const { count, planned, open } = this.played();
    const rate = Math.max(SLOWEST, Math.max(planned, count) / WHOLE);
    const wanted = this.exact.peek() + seconds * rate * this.speed.peek();
    const end = Math.max(0, count - 1);
    batch(() => {
      // Not past what came: a slow network is followed live.
      this.exact.value = Math.min(wanted, end);
      if (wanted >= end && !open) this.playing.value = false;
    });
    if (this.playing.peek()) this.nextFrame(this.tick);
  };
}
