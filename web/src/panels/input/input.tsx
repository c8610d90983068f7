// The picture that all begins with: drawn, brought, or one of a data set; shown as the network
// receives it, with what the network says.
import { useEffect, useRef } from "preact/hooks";
import type { NetworkInfo } from "../../api/types";
import { Picture } from "../../pictures/canvas";
import { percent } from "../../plot/words";
import { drawnTrouble, travels } from "../../state/drawn";
import { pictured } from "../../state/pictured";
import { picture } from "../../state/sentence";
import { register } from "../registry";
import { Bars } from "./bars";
import { board, boardTrouble, live } from "./board";
import { BringButton, bringing, bringTrouble, brought } from "./bring";
import { Paper } from "./canvas";
import "./input.css";
import { SampleStrip } from "./samples";
import { redo, Tools, undo } from "./tools";

function InputPanel({ network }: { network: NetworkInfo }) {
  return (
    <div class="input-panel" onKeyDown={takeBack}>
      <div class="input-paper stack">
        <Paper still={!drawable(network.channels)} />
        <p class="hint">{received(network)}</p>
      </div>
      <div class="input-side stack">
        <Answer network={network} />
        {drawable(network.channels) && <Tools />}
        <Problem words={boardTrouble.value?.message ?? null} />
        <Problem words={drawnTrouble.value} />
        <p class="hint">
          {drawable(network.channels)
            ? "Drawing needs a mouse, a pen or a finger; all else here works by keys."
            : "Only grey and coloured pictures can be drawn."}
        </p>
      </div>
      <div class="input-bring stack">
        <div class="row">
          <BringButton />
          <span class="hint">or drop one onto the page, or paste one</span>
        </div>
        {bringing.value !== null && <p role="status">{bringing.value} is being read…</p>}
        <Problem words={bringTrouble.value} come />
        <BroughtPicture />
        <SampleStrip network={network} />
      </div>
    </div>
  );
}

/** A drawing is grey or has three colours. */
function drawable(channels: number): boolean {
  return channels === 1 || channels === 3;
}

function received({ input_size, channels }: NetworkInfo): string {
  const drawn = board.value;
  if (drawn === null) return "";
  if (!drawable(channels)) {
    return `It receives ${channels} channels, of which the first three are shown as colours.`;
  }
  const size = input_size === null ? "any size" : `${input_size[1]}×${input_size[0]}`;
  const colours = drawn.channels === 1 ? "grey" : "colour";
  return input_size !== null && drawn.width !== input_size[1]
    ? `Shown at ${drawn.width}×${drawn.height}; the network receives ${size}, in ${colours}.`
    : `As the network receives it: ${size}, in ${colours}. Draw on it.`;
}

function Answer({ network }: { network: NetworkInfo }) {
  const known = live.value ?? pictured.value;
  if (known === null || known.probabilities.length !== network.labels.length) return null;
  const { probabilities, winner } = known;
  return (
    <div class="stack">
      <p>
        Predicted as <strong>{network.labels[winner]}</strong>{" "}
        <span class="number">{percent(probabilities[winner] ?? 0)}</span>
      </p>
      <Bars labels={network.labels} probabilities={probabilities} winner={winner} />
    </div>
  );
}

function BroughtPicture() {
  const known = brought.value;
  const now = picture.value;
  if (known !== null && known.name === now) {
    return (
      <figure class="brought">
        <img class="picture" src={known.url} alt="The picture as you brought it" />
        <figcaption class="hint">
          {known.words}. Above it is as the network receives it.
          {known.notes.map((note) => ` ${note}.`)} Its link holds while this studio runs.
        </figcaption>
      </figure>
    );
  }
  if (travels(now) || pictured.value === null) return null;
  return (
    <figure class="brought">
      <Picture frame={pictured.value.frame} alt="" />
      <figcaption class="hint">A link to this picture holds while this studio runs.</figcaption>
    </figure>
  );
}

/** `come`: it answers to what may be done anywhere on the page, so it comes into sight. */
function Problem({ words, come = false }: { words: string | null; come?: boolean }) {
  const place = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    if (come) place.current?.scrollIntoView?.({ block: "nearest" });
  }, [words]);
  if (words === null) return null;
  return (
    <p ref={place} class="problem" role="alert">
      {words}
    </p>
  );
}

function takeBack(event: KeyboardEvent): void {
  if (!(event.ctrlKey || event.metaKey) || event.target instanceof HTMLInputElement) return;
  const key = event.key.toLowerCase();
  if (key === "z" && !event.shiftKey) undo();
  else if (key === "y" || key === "z") redo();
  else return;
  event.preventDefault();
}

register({
  id: "input",
  title: "Picture",
  place: 10,
  width: "third",
  whyNot: () => null,
  view: InputPanel,
});
