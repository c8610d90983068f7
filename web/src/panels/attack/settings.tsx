// The settings of an attack: what it takes by name, with its own usual values.
import type { Choice } from "../../state/choices";
import { type OfferedAttack, type Parameter, parse, write } from "./told";

interface Props {
  attack: OfferedAttack;
  kept: Choice<string>;
}

export function Settings({ attack, kept }: Props) {
  const given = parse(kept.value, attack);
  const names = Object.keys(attack.parameters).filter((one) => !Array.isArray(attack.parameters[one]));
  if (names.length === 0) return null;
  const changed = Object.keys(given).length;

  function set(name: string, value: Parameter | undefined): void {
    const rest = { ...given };
    delete rest[name];
    kept.value = write(value === undefined ? rest : { ...rest, [name]: value });
  }

  return (
    <details class="attack-settings">
      <summary>
        Settings of {attack.name}
        {changed > 0 && <span class="hint"> ({changed} changed)</span>}
      </summary>
      <div class="grid">
        {names.map((name) => (
          <Field
            key={name}
            name={name}
            usual={attack.parameters[name] as Parameter}
            words={attack.choices[name] ?? []}
            value={given[name]}
            set={(value) => set(name, value)}
          />
        ))}
      </div>
      {changed > 0 && (
        <button type="button" class="button small" onClick={() => kept.forget()}>
          All as usual
        </button>
      )}
    </details>
  );
}

interface FieldProps {
  name: string;
  usual: Parameter;
  words: readonly string[];
  value: Parameter | undefined;
  /** Nothing is what is usual. */
  set: (value: Parameter | undefined) => void;
}

function Field({ name, usual, words, value, set }: FieldProps) {
  const label = name.replaceAll("_", " ");
  if (typeof usual === "boolean") {
    return (
      <label class="row">
        <input
          type="checkbox"
          checked={(value ?? usual) === true}
          onChange={({ currentTarget: { checked } }) => set(checked === usual ? undefined : checked)}
        />
        {label}
      </label>
    );
  }
  const shown = usual === null ? "its own choice" : String(usual);
  if (words.length > 0) {
    return (
      <label class="field">
        {label}
        <select
          value={value === undefined ? "" : String(value)}
          onChange={({ currentTarget }) => set(currentTarget.value || undefined)}
        >
          <option value="">{shown}</option>
          {words
            .filter((word) => word !== usual)
            .map((word) => (
              <option key={word}>{word}</option>
            ))}
        </select>
      </label>
    );
  }
  return (
    <label class="field">
      {label}
      <input
        inputMode={typeof usual === "number" ? "decimal" : "text"}
        placeholder={shown}
        value={value === undefined || value === null ? "" : String(value)}
        onChange={({ currentTarget }) => {
          const text = currentTarget.value.trim();
          const number = Number(text);
          set(text === "" ? undefined : Number.isFinite(number) ? number : text.replace(/[,=]/g, ""));
        }}
      />
    </label>
  );
}
