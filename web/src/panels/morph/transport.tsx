// Play, pause, stop, the steps, the speed: how one moves through a trajectory.
import type { ComponentChildren } from "preact";
import { type Playback, SPEEDS } from "../../state/playback";
import "./transport.css";

interface Props {
  playback: Playback;
  /** The steps that are there and that are meant. */
  count: number;
  planned: number;
  /** Whether more steps may come. */
  open: boolean;
  onStop: () => void;
  /** The step that is looked at, by its number, and in words. */
  number: number;
  words: string;
  children?: ComponentChildren;
}

export function Transport(props: Props) {
  const { playback, count, planned, open, onStop, number, words, children } = props;
  const playing = playback.playing.value;
  const toggle = () => (playing ? playback.pause() : playback.play());
  const last = Math.max(planned, count - 1, 1);
  return (
    <div class="transport">
      <button type="button" class="button primary transport-play" onClick={toggle} disabled={count === 0}>
        <span class="transport-icon" data-is={playing ? "pause" : "play"} aria-hidden="true" />
        {playing ? "Pause" : "Play"}
      </button>
      <button type="button" class="button" onClick={onStop} disabled={!open && !playing}>
        Stop
      </button>
      <label class="transport-steps">
        <span class="number">
          Step {number} of {planned}
        </span>
        <input
          type="range"
          min={0}
          max={last}
          value={playback.position.value}
          aria-valuetext={words}
          disabled={count === 0}
          onInput={(event) => playback.go(event.currentTarget.valueAsNumber)}
          onKeyDown={(event) => {
            if (event.key !== " ") return;
            event.preventDefault();
            toggle();
          }}
        />
      </label>
      <label class="transport-speed">
        <span>Speed</span>
        <select
          class="input"
          value={playback.speed.value}
          onChange={(event) => {
            playback.speed.value = Number(event.currentTarget.value);
          }}
        >
          {SPEEDS.map((speed) => (
            <option key={speed} value={speed}>
              ×{speed}
            </option>
          ))}
        </select>
      </label>
      {children}
    </div>
  );
}
