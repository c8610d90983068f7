// Which methods are drawn: all that there are, by what they promise.
import { badgeOf, grouped, type MethodOffered, type Verdict } from "./told";

interface Props {
  methods: MethodOffered[];
  chosen: string[];
  choose: (chosen: string[]) => void;
  usual: string[];
  verdicts: ReadonlyMap<string, Verdict>;
}

export function Methods({ methods, chosen, choose, usual, verdicts }: Props) {
  const toggle = (name: string) => {
    const wanted = chosen.includes(name)
      ? chosen.filter((one) => one !== name)
      : [...chosen, name];
    // In the order of the list, so that the same choice is the same address.
    choose(methods.map((one) => one.name).filter((one) => wanted.includes(one)));
  };
  return (
    <details class="methods">
      <summary>
        Methods: {chosen.length} of {methods.length}
      </summary>
      <div class="stack">
        {grouped(methods).map((group) => (
          <fieldset key={group.title}>
            <legend class="hint">{group.title}</legend>
            <div class="grid">
              {group.methods.map((method) => (
                <label key={method.name} class="method">
                  <input
                    type="checkbox"
                    checked={chosen.includes(method.name)}
                    onChange={() => toggle(method.name)}
                  />
                  <span>
                    <strong>{method.name}</strong>{" "}
                    {verdicts.has(method.name) && (
                      <span class="hint">({badgeOf(verdicts.get(method.name)!).words})</span>
                    )}
                    <span class="hint method-shows">
                      {method.shows}; {method.cost}
                    </span>
                    {method.caution !== "" && (
                      <span class="hint method-shows">Mind: {method.caution}</span>
                    )}
                  </span>
                </label>
              ))}
            </div>
          </fieldset>
        ))}
        <button type="button" class="button small" onClick={() => choose(usual)}>
          The usual ones
        </button>
      </div>
    </details>
  );
}
