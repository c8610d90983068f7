// A drawing at the network's own resolution: strokes with soft edges, taken back and made again.
// Values are 8-bit, rows from the top, channels last, as requests take them.

export interface Point {
  x: number;
  y: number;
}

/** A colour, as many values as the drawing has channels. */
export type Ink = readonly number[];

/** As many states can be taken back. */
const MOST_STEPS = 60;

/** Width of the soft edge, in pixels. */
const EDGE = 1;

export class Drawing {
  readonly values: Uint8Array;
  private past: Uint8Array[] = [];
  private future: Uint8Array[] = [];
  private before: Uint8Array | null = null;
  /** How much of each pixel the present stroke covers: crossing itself makes it no darker. */
  private covered = new Float32Array(0);
  private last: Point | null = null;

  constructor(
    readonly width: number,
    readonly height: number,
    readonly channels: number,
    values?: Uint8Array,
  ) {
    this.values = Uint8Array.from(values ?? new Uint8Array(width * height * channels));
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  /** Put the pen down. */
  begin(at: Point, radius: number, ink: Ink): void {
    this.keep();
    this.before = this.values.slice();
    this.covered = new Float32Array(this.width * this.height);
    this.last = at;
    this.segment(at, at, radius, ink);
  }

  /** Move it. */
  move(to: Point, radius: number, ink: Ink): void {
    if (this.last === null) return;
    this.segment(this.last, to, radius, ink);
    this.last = to;
  }

  /** Lift it. */
  end(): void {
    this.last = null;
    this.before = null;
  }

  /** Replace everything, so that it can be taken back. */
  fill(value: (pixel: number, channel: number) => number): void {
    this.keep();
    for (let pixel = 0; pixel < this.width * this.height; pixel++) {
      for (let channel = 0; channel < this.channels; channel++) {
        this.values[pixel * this.channels + channel] = Math.round(value(pixel, channel));
      }
    }
  }

  undo(): void {
    this.swap(this.past, this.future);
  }

  redo(): void {
    this.swap(this.future, this.past);
  }

  private swap(from: Uint8Array[], to: Uint8Array[]): void {
    const state = from.pop();
    if (state === undefined) return;
    to.push(this.values.slice());
    this.values.set(state);
  }

  private keep(): void {
    this.past.push(this.values.slice());
    if (this.past.length > MOST_STEPS) this.past.shift();
    this.future = [];
  }

  /** Everything within `radius` of the line between two points, over what was before the stroke. */
  private segment(from: Point, to: Point, radius: number, ink: Ink): void {
    const { before, covered, width, height, channels, values } = this;
    if (before === null) return;
    const reach = radius + EDGE;
    const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - reach));
    const right = Math.min(width - 1, Math.ceil(Math.max(from.x, to.x) + reach));
    const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - reach));
    const bottom = Math.min(height - 1, Math.ceil(Math.max(from.y, to.y) + reach));
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        const away = distance({ x: column + 0.5, y: row + 0.5 }, from, to);
        const share = Math.min(1, Math.max(0, (radius + EDGE / 2 - away) / EDGE));
        const pixel = row * width + column;
        if (share <= (covered[pixel] ?? 0)) continue;
        covered[pixel] = share;
        for (let channel = 0; channel < channels; channel++) {
          const at = pixel * channels + channel;
          const under = before[at] ?? 0;
          values[at] = Math.round(under + share * ((ink[channel] ?? 0) - under));
        }
      }
    }
  }
}

/** From a point to the line between two others. */
function distance(point: Point, from: Point, to: Point): number {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  const along = length === 0 ? 0 : ((point.x - from.x) * dx + (point.y - from.y) * dy) / length;
  const share = Math.min(1, Math.max(0, along));
  return Math.hypot(point.x - from.x - share * dx, point.y - from.y - share * dy);
}

/** The pen for a picture of that side: as wide as the strokes of handwritten digits are. */
export function penRadius(side: number, times = 1): number {
  return Math.max(0.6, 0.042 * side * times);
}
