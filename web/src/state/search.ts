// A job that moves a picture step by step, and what it has told: the morph, and each attack.
import { batch, type ReadonlySignal, signal } from "@preact/signals";
import type { Begin, End, StepEvent } from "../api/types";
import { JobSlot } from "./job";
import { Trajectory } from "./trajectory";

export class Search {
  readonly job = new JobSlot();
  private readonly trajectory_ = signal(new Trajectory());
  private readonly begin_ = signal<Begin | null>(null);
  private readonly end_ = signal<End | null>(null);
  /** Milliseconds that a step of it took, on the server and on its way; `null` before there are. */
  pace: number | null = null;

  get trajectory(): ReadonlySignal<Trajectory> {
    return this.trajectory_;
  }

  /** What the job said when it began. */
  get begin(): ReadonlySignal<Begin | null> {
    return this.begin_;
  }

  /** How it ended; `null` while it has not. */
  get end(): ReadonlySignal<End | null> {
    return this.end_;
  }

  /** Whether more steps may come. */
  get open(): boolean {
    const standing = this.job.standing.peek();
    if (standing.is === "gone") return standing.returns;
    return ["queued", "running", "reconnecting"].includes(standing.is);
  }

  run(request: object): void {
    this.empty();
    this.job.run(request, { begun: () => this.empty(), event: this.heard, end: this.ended });
  }

  /** End it and forget what it told. */
  clear(): void {
    this.job.leave();
    this.empty();
  }

  private empty(): void {
    batch(() => {
      this.trajectory_.value = new Trajectory();
      this.begin_.value = null;
      this.end_.value = null;
    });
    this.pace = null;
  }

  private started = 0;

  private readonly heard = (name: string, data: unknown): void => {
    const trajectory = this.trajectory_.peek();
    if (name === "begin") {
      const begin = data as Begin;
      this.started = performance.now();
      this.begin_.value = begin;
      trajectory.begin(
        { target: begin.target ?? null, steps: begin.steps ?? 0 },
        begin.frames?.original ?? null,
      );
    } else if (name === "step" || name === "winner") {
      trajectory.add(data as StepEvent);
      this.pace = (performance.now() - this.started) / trajectory.steps.length;
    }
  };

  private readonly ended = (end: End): void => {
    this.end_.value = end;
  };
}
