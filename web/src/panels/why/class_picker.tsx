// A row of classes with their present probability, and a field that finds the others.
import { useState } from "preact/hooks";
import { percent } from "../../plot/words";
import { matching } from "./classes";

/** As many as are offered without searching; all of a network that has no more than twelve. */
const FEW = 12;
const SHOWN = 5;

interface Props {
  /** What is chosen here, such as "Why". */
  legend: string;
  labels: string[];
  /** Classes in the order in which they are offered. */
  order: number[];
  probabilities: ArrayLike<number>;
  chosen: number | null;
  choose: (index: number | null) => void;
  /** The word for choosing none; without it there always is one. */
  none?: string;
}

export function ClassPicker(props: Props) {
  const { legend, labels, order, probabilities, chosen, choose, none } = props;
  const [typed, type] = useState("");
  const found = matching(order, labels, typed);
  const many = labels.length > FEW;
  const offered = found.slice(0, many ? SHOWN : FEW);
  if (chosen !== null && typed === "" && !offered.includes(chosen)) offered.push(chosen);
  return (
    <fieldset class="classes">
      <legend>{legend}</legend>
      <div class="row">
        {none !== undefined && (
          <button
            type="button"
            class="button small"
            aria-pressed={chosen === null}
            onClick={() => choose(null)}
          >
            {none}
          </button>
        )}
        {offered.map((index) => (
          <button
            key={index}
            type="button"
            class="button small"
            aria-pressed={chosen === index}
            onClick={() => choose(index)}
          >
            <span>{labels[index]}</span>
            <span class="number">{percent(probabilities[index] ?? 0)}</span>
          </button>
        ))}
        {many && (
          <input
            type="search"
            class="input"
            aria-label={`${legend}: find a class`}
            placeholder={`one of ${labels.length.toLocaleString("en")} classes`}
            value={typed}
            onInput={(event) => type(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && found[0] !== undefined) {
                choose(found[0]);
                type("");
              } else if (event.key === "Escape") type("");
            }}
          />
        )}
      </div>
      <p class="hint" role="status">
        {typed === ""
          ? ""
          : found.length === 0
            ? `No class is called ${typed}.`
            : found.length > offered.length
              ? `${offered.length} of ${found.length} classes; type more of the name.`
              : ""}
      </p>
    </fieldset>
  );
}
