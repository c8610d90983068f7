// What is drawn into a plot besides the curves: the bands of the winners behind them, and the name
// of each class where its curve ends.
import type uPlot from "uplot";
import type { Band } from "../state/trajectory";
import { colour } from "../style/theme";
import { apart, type Line, shortLabel } from "./lines";

/** The font of a plot, in pixels of the page. */
export function fontOf(plot: HTMLElement): { size: number; family: string } {
  const style = getComputedStyle(plot);
  return { size: Number.parseFloat(style.fontSize) || 13, family: style.fontFamily };
}

export function drawBands(
  plot: uPlot,
  bands: readonly Band[],
  x: ArrayLike<number>,
  lines: readonly Line[],
  names: readonly string[],
): void {
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const { size, family } = fontOf(plot.root);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `600 ${size * ratio}px ${family}`;
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  bands.forEach((band, index) => {
    const next = bands[index + 1];
    const left = plot.valToPos(x[band.from] as number, "x", true);
    const right = plot.valToPos(x[next?.from ?? band.to] as number, "x", true);
    ctx.fillStyle = colourOf(band.winner, lines);
    ctx.globalAlpha = 0.16;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    const name = shortLabel(names[band.winner] ?? String(band.winner));
    if (ctx.measureText(name).width + 8 * ratio < right - left) {
      ctx.globalAlpha = 1;
      ctx.fillStyle = colour("--ink");
      ctx.fillText(name, left + 4 * ratio, bbox.top + 4 * ratio);
    }
  });
  ctx.restore();
}

export function drawNames(
  plot: uPlot,
  lines: readonly Line[],
  names: readonly string[],
): void {
  const x = plot.data[0];
  const last = x.length - 1;
  if (last < 0) return;
  const { ctx, bbox } = plot;
  const ratio = devicePixelRatio;
  const { size, family } = fontOf(plot.root);
  const from = plot.valToPos(x[last] as number, "x", true);
  const heights = lines.map((_, index) =>
    plot.valToPos((plot.data[index + 1]?.[last] as number) ?? 0, "y", true),
  );
  const gap = size * 1.12 * ratio;
  const placed = apart(heights, gap, bbox.top + gap / 2, bbox.top + bbox.height - gap / 2);
  ctx.save();
  ctx.font = `${size * ratio}px ${family}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  ctx.setLineDash([]);
  lines.forEach((line, index) => {
    const at = placed[index] as number;
    ctx.strokeStyle = ctx.fillStyle = colour(line.colour);
    ctx.lineWidth = ratio;
    ctx.globalAlpha = 0.5;
    ctx.beginPath();
    ctx.moveTo(from, heights[index] as number);
    ctx.lineTo(from + 10 * ratio, at);
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.fillText(nameOf(line, names), from + 13 * ratio, at);
  });
  ctx.restore();
}

export function nameOf(line: Line, names: readonly string[]): string {
  return line.of === null ? "others" : shortLabel(names[line.of] ?? String(line.of));
}

/** The room that the names take to the right of the curves, in pixels of the page. */
export function roomForNames(host: HTMLElement, lines: readonly Line[], names: readonly string[]): number {
  const context = document.createElement("canvas").getContext("2d");
  if (context === null) return 60;
  const { size, family } = fontOf(host);
  context.font = `${size}px ${family}`;
  const widest = Math.max(0, ...lines.map((line) => context.measureText(nameOf(line, names)).width));
  return Math.ceil(Math.min(widest, host.clientWidth * 0.4)) + 18;
}

function colourOf(winner: number, lines: readonly Line[]): string {
  return colour(lines.find(({ of }) => of === winner)?.colour ?? "--series-others");
}
