// What is drawn into a plot besides the curves: the bands of the winners behind them, and the name
// of each class where its curve ends.
import type uPlot from "uplot";
import type { Band } from "../state/trajectory";
import { colour } from "../style/theme";
import { apart, type Line, shortLabel } from "./lines";

/** Font and colours of a plot, read once: to ask the browser for them at each step costs a layout. */
export class Look {
  readonly size: number;
  readonly font: string;
  private readonly colours = new Map<string, string>();

  constructor(host: HTMLElement) {
    const style = getComputedStyle(host);
    this.size = Number.parseFloat(style.fontSize) || 13;
    this.font = style.fontFamily;
  }

  colour(name: `--${string}`): string {
    let found = this.colours.get(name);
    if (found === undefined) this.colours.set(name, (found = colour(name)));
    return found;
  }

  /** For a canvas with so many pixels to one of the page. */
  fontOf(ratio: number, weight = 400): string {
    return `${weight} ${this.size * ratio}px ${this.font}`;
  }
}

export function drawBands(
  plot: uPlot,
  look: Look,
  bands: readonly Band[],
  x: ArrayLike<number>,
  lines: readonly Line[],
): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.globalAlpha = 0.16;
  for (const band of bands) {
    const left = plot.valToPos(edge(x, band.from), "x", true);
    const right = plot.valToPos(edge(x, band.to + 1), "x", true);
    ctx.fillStyle = look.colour(colourOf(band.winner, lines));
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}

/** The winner's name in each band that has room for it, over the curves. */
export function drawWinners(
  plot: uPlot,
  look: Look,
  bands: readonly Band[],
  x: ArrayLike<number>,
  names: readonly string[],
): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = look.fontOf(ratio, 600);
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  ctx.setLineDash([]);
  ctx.lineJoin = "round";
  ctx.lineWidth = 4 * ratio;
  ctx.strokeStyle = look.colour("--card");
  ctx.fillStyle = look.colour("--ink");
  for (const band of bands) {
    const left = plot.valToPos(edge(x, band.from), "x", true) + 4 * ratio;
    const right = plot.valToPos(edge(x, band.to + 1), "x", true);
    const name = shortLabel(names[band.winner] ?? String(band.winner));
    if (ctx.measureText(name).width + 4 * ratio > right - left) continue;
    ctx.strokeText(name, left, bbox.top + 5 * ratio);
    ctx.fillText(name, left, bbox.top + 5 * ratio);
  }
  ctx.restore();
}

/** Where the band that begins at a place meets the one before: in the middle between their steps. */
function edge(x: ArrayLike<number>, place: number): number {
  const [before, after] = [x[place - 1], x[place]];
  if (before === undefined || after === undefined) return (before ?? after) as number;
  return (before + after) / 2;
}

/** The length of the piece of its curve that stands before a name. */
const SAMPLE = 22;

/** How wide a curve is drawn: the wanted class wider. */
export function widthOf(line: Line, wanted: number | null, look: Look): number {
  return (line.of === wanted && wanted !== null ? 3 : 1.75) * (look.size / 13);
}

/** The name of each class where its curve ends, after a piece of the curve. */
export function drawNames(
  plot: uPlot,
  look: Look,
  lines: readonly Line[],
  names: readonly string[],
  wanted: number | null,
): void {
  const x = plot.data[0];
  const last = x.length - 1;
  if (last < 0) return;
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const from = plot.valToPos(x[last] as number, "x", true);
  const heights = lines.map((_, index) =>
    plot.valToPos((plot.data[index + 1]?.[last] as number) ?? 0, "y", true),
  );
  const gap = look.size * 1.12 * ratio;
  const placed = apart(heights, gap, bbox.top + gap / 2, bbox.top + bbox.height - gap / 2);
  ctx.save();
  ctx.font = look.fontOf(ratio);
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  const begin = from + 10 * ratio;
  const end = begin + SAMPLE * ratio;
  const room = ctx.canvas.width - end - 4 * ratio;
  lines.forEach((line, index) => {
    const at = placed[index] as number;
    ctx.strokeStyle = ctx.fillStyle = look.colour(line.colour);
    ctx.lineWidth = ratio;
    ctx.globalAlpha = 0.5;
    ctx.setLineDash([]);
    stroke(ctx, from, heights[index] as number, begin, at);
    ctx.lineWidth = widthOf(line, wanted, look) * ratio;
    ctx.globalAlpha = 1;
    ctx.setLineDash(line.dash.map((length) => length * ratio));
    stroke(ctx, begin, at, end, at);
    ctx.fillText(fitted(ctx, nameOf(line, names), room), end + 4 * ratio, at);
  });
  ctx.restore();
}

function stroke(ctx: CanvasRenderingContext2D, x: number, y: number, toX: number, toY: number): void {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(toX, toY);
  ctx.stroke();
}

/** As much of a name as there is room for. */
function fitted(ctx: CanvasRenderingContext2D, name: string, room: number): string {
  let [end, shown] = [name.length, name];
  while (end > 1 && ctx.measureText(shown).width > room) {
    end -= 1;
    shown = `${name.slice(0, end).trimEnd()}…`;
  }
  return shown;
}

export function nameOf(line: Line, names: readonly string[]): string {
  return line.of === null ? "others" : shortLabel(names[line.of] ?? String(line.of));
}

/** The room that the names take to the right of the curves, in pixels of the page. */
export function roomForNames(
  host: HTMLElement,
  look: Look,
  lines: readonly Line[],
  names: readonly string[],
): number {
  const context = document.createElement("canvas").getContext("2d");
  if (context === null) return 60 + SAMPLE;
  context.font = look.fontOf(1);
  const widest = Math.max(0, ...lines.map((line) => context.measureText(nameOf(line, names)).width));
  return Math.ceil(Math.min(widest, host.clientWidth * 0.36)) + SAMPLE + 18;
}

function colourOf(winner: number, lines: readonly Line[]): Line["colour"] {
  return lines.find(({ of }) => of === winner)?.colour ?? "--series-others";
}
