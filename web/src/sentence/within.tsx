// "within 8/255, 40 steps": the bound and the number of steps. What cannot be is refused beside its
// field, and what was before stays.
import { useId, useState } from "preact/hooks";
import { eps, norm, steps } from "../state/sentence";
import { boundInWords, boundProblem, NORMS, stepsInWords, stepsProblem } from "./words";
import { Word } from "./word";

export function WithinWord() {
  const wrong =
    boundProblem(norm.value, eps.value) !== null || stepsProblem(String(steps.value)) !== null;
  const shown = `${boundInWords(norm.value, eps.value)}, ${stepsInWords(steps.value)}`;
  return (
    <Word name="Bound and steps" shown={shown} wrong={wrong}>
      {(close) => <Within close={close} />}
    </Word>
  );
}

const BOUNDS: Record<string, string[]> = {
  linf: ["2/255", "4/255", "8/255", "16/255", "0.3"],
  l2: ["0.5", "1", "2", "3", "5"],
};

function Within({ close }: { close: () => void }) {
  const group = useId();
  return (
    <form
      class="word-fields"
      onSubmit={(event) => {
        event.preventDefault();
        // What is typed is taken as the field is left.
        (document.activeElement as HTMLElement | null)?.blur();
        if (event.currentTarget.querySelector("[aria-invalid=true]") === null) close();
      }}
    >
      <fieldset>
        <legend>Bound by its</legend>
        {Object.entries(NORMS).map(([name, { words, says }], place) => (
          <label key={name} class="radio">
            <input
              type="radio"
              name={group}
              checked={norm.value === name}
              data-first={place === 0 ? true : undefined}
              onChange={() => {
                norm.value = name;
                eps.forget();
              }}
            />
            <span>
              {words} <span class="hint">{says}</span>
            </span>
          </label>
        ))}
      </fieldset>
      {norm.value !== "none" && (
        <Field
          key={`${norm.value} ${eps.value}`}
          label="Bound"
          value={eps.value}
          usual={BOUNDS[norm.value] ?? []}
          problem={(text) => boundProblem(norm.value, text)}
          take={(text) => {
            eps.value = text;
          }}
        />
      )}
      <Field
        key={steps.value}
        label="Steps"
        value={String(steps.value)}
        usual={["10", "40", "100", "300"]}
        problem={stepsProblem}
        take={(text) => {
          steps.value = Number(text);
        }}
      />
      <button type="submit" class="button primary small">
        Done
      </button>
    </form>
  );
}

interface FieldProps {
  label: string;
  value: string;
  usual: readonly string[];
  problem: (text: string) => string | null;
  take: (text: string) => void;
}

function Field({ label, value, usual, problem, take }: FieldProps) {
  const id = useId();
  const [typed, setTyped] = useState(value);
  const wrong = problem(typed);
  const settle = (text: string) => {
    setTyped(text);
    if (problem(text) === null && text.trim() !== value) take(text.trim());
  };
  return (
    <div class="stack-small">
      <label class="field">
        {label}
        <input
          type="text"
          inputMode="decimal"
          autocomplete="off"
          value={typed}
          aria-invalid={wrong !== null}
          aria-describedby={wrong === null ? undefined : id}
          onInput={(event) => setTyped(event.currentTarget.value)}
          onChange={(event) => settle(event.currentTarget.value)}
        />
      </label>
      {wrong !== null && (
        <p id={id} class="problem" role="alert">
          {wrong}
        </p>
      )}
      <div class="row">
        {usual.map((one) => (
          <button
            key={one}
            type="button"
            class="button small"
            aria-pressed={one === value}
            onClick={() => settle(one)}
          >
            {one}
          </button>
        ))}
      </div>
    </div>
  );
}
