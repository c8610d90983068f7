// The paper and the pen. The paper is the picture at the network's own resolution, enlarged.
import { computed, signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { board, changed, drew, holds } from "./board";
import { type Ink, penRadius, type Point } from "./drawing";

export const tool = signal<"pen" | "eraser">("pen");
/** How many times the usual width. */
export const width = signal(1);
/** The pen's colour and that of the paper, as #rrggbb. */
export const inkColour = signal("#ffffff");
export const paperColour = signal("#000000");

const ink = computed(() => (tool.value === "pen" ? inkColour.value : paperColour.value));

/** A colour as many values as the drawing has channels; of one the luminance. */
export function asInk(colour: string, channels: number): Ink {
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return channels === 1
    ? [Math.round(0.299 * red + 0.587 * green + 0.114 * blue)]
    : [red, green, blue];
}

/** `still`: it is only looked at. */
export function Paper({ still = false }: { still?: boolean }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const drawing = board.value;
  const version = changed.value;

  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (drawing === null || context === undefined || context === null) return;
    const { width: columns, height: rows, channels, values } = drawing;
    const image = context.createImageData(columns, rows);
    for (let pixel = 0; pixel < columns * rows; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        const at = channels === 1 ? pixel : 3 * pixel + channel;
        image.data[4 * pixel + channel] = values[at] ?? 0;
      }
      image.data[4 * pixel + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }, [drawing, version]);

  if (drawing === null) return <div class="paper paper-empty picture" />;
  const radius = penRadius(Math.max(drawing.width, drawing.height), width.value);
  const where = (event: PointerEvent): Point => {
    const box = canvas.current?.getBoundingClientRect() ?? new DOMRect(0, 0, 1, 1);
    return {
      x: ((event.clientX - box.left) / box.width) * drawing.width,
      y: ((event.clientY - box.top) / box.height) * drawing.height,
    };
  };
  return (
    <canvas
      ref={canvas}
      class={`paper picture ${Math.max(drawing.width, drawing.height) > 96 ? "paper-smooth" : ""} ${still ? "paper-still" : ""}`}
      width={drawing.width}
      height={drawing.height}
      role="img"
      aria-label={
        still
          ? "The picture as the network receives it"
          : "The picture as the network receives it; draw on it with a mouse, pen or finger"
      }
      onPointerDown={(event) => {
        if (event.button !== 0 || still) return;
        event.preventDefault();
        event.currentTarget.setPointerCapture(event.pointerId);
        drawing.begin(where(event), radius, asInk(ink.value, drawing.channels));
        drew();
        holds();
      }}
      onPointerMove={(event) => {
        if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
        const between = event.getCoalescedEvents?.() ?? [];
        for (const one of between.length > 0 ? between : [event]) {
          drawing.move(where(one), radius, asInk(ink.value, drawing.channels));
        }
        drew();
        holds();
      }}
      onPointerUp={lift}
      onPointerCancel={lift}
    />
  );

  function lift(event: PointerEvent): void {
    if (!(event.currentTarget as HTMLCanvasElement).hasPointerCapture(event.pointerId)) return;
    drawing?.end();
    drew();
  }
}
