// What is drawn with, and what a drawing begins from.
import { board, changed, drew } from "./board";
import { asInk, inkColour, paperColour, tool, width } from "./canvas";

const WIDTHS: [number, string][] = [
  [0.65, "Thin"],
  [1, "Medium"],
  [1.8, "Thick"],
];
const PAPERS: [string, string][] = [
  ["#000000", "Black"],
  ["#808080", "Grey"],
  ["#ffffff", "White"],
];

export function Tools() {
  const drawing = board.value;
  void changed.value;
  const off = drawing === null;
  return (
    <div class="stack" role="group" aria-label="Drawing">
      <div class="row">
        <span class="segmented" role="group" aria-label="Tool">
          <Pressed on={tool.value === "pen"} words="Pen" act={() => (tool.value = "pen")} />
          <Pressed on={tool.value === "eraser"} words="Eraser" act={() => (tool.value = "eraser")} />
        </span>
        <span class="segmented" role="group" aria-label="Width">
          {WIDTHS.map(([times, words]) => (
            <Pressed
              key={words}
              on={width.value === times}
              words={words}
              act={() => (width.value = times)}
            />
          ))}
        </span>
        <label class="ink">
          <span class="sr-only">Colour of the pen</span>
          <input
            type="color"
            value={inkColour.value}
            onInput={(event) => {
              inkColour.value = event.currentTarget.value;
              tool.value = "pen";
            }}
          />
        </label>
      </div>
      <div class="row">
        <button
          type="button"
          class="button small"
          disabled={off || !drawing.canUndo}
          onClick={undo}
        >
          Undo
        </button>
        <button
          type="button"
          class="button small"
          disabled={off || !drawing.canRedo}
          onClick={redo}
        >
          Redo
        </button>
        <span class="row" role="group" aria-label="Clear to">
          <span class="hint" aria-hidden="true">
            Clear to
          </span>
          {PAPERS.map(([colour, words]) => (
            <button
              key={colour}
              type="button"
              class="button small"
              disabled={off}
              onClick={() => clear(colour)}
            >
              {words}
            </button>
          ))}
          <button type="button" class="button small" disabled={off} onClick={noise}>
            Noise
          </button>
        </span>
      </div>
    </div>
  );
}

export function undo(): void {
  board.peek()?.undo();
  drew();
}

export function redo(): void {
  board.peek()?.redo();
  drew();
}

/** All of one colour; the pen takes one that is seen on it. */
function clear(colour: string): void {
  const drawing = board.peek();
  if (drawing === null) return;
  const ink = asInk(colour, drawing.channels);
  drawing.fill((_, channel) => ink[channel] ?? 0);
  paperColour.value = colour;
  if (inkColour.value === colour) inkColour.value = colour === "#ffffff" ? "#000000" : "#ffffff";
  tool.value = "pen";
  drew();
}

function noise(): void {
  board.peek()?.fill(() => 255 * Math.random());
  drew();
}

function Pressed({ on, words, act }: { on: boolean; words: string; act: () => void }) {
  return (
    <button type="button" class="button small" aria-pressed={on} onClick={act}>
      {words}
    </button>
  );
}
