// What finished portraits are worth: warnings first, then the numbers, then what not to conclude.
import type { PortraitTold, Told } from "./told";

export function Worth({ portrait, told }: { portrait: PortraitTold; told: Told | null }) {
  const { headline, flags = [], measures = [], not_measured = [] } = portrait;
  return (
    <div class="stack">
      {headline !== undefined && <p>{headline}</p>}
      {flags.map((flag) => (
        <p key={flag.name} class={flag.spoils ? "problem" : "note"}>
          {flag.words}
        </p>
      ))}
      {measures.length > 0 && (
        <details>
          <summary>
            {measures.length} {measures.length === 1 ? "measure" : "measures"} of both
          </summary>
          <div class="measures">
            <table>
              <thead>
                <tr>
                  <th scope="col">measure</th>
                  <th scope="col">these</th>
                  <th scope="col">real pictures</th>
                  <th scope="col">noise</th>
                </tr>
              </thead>
              <tbody>
                {measures.map((one) => (
                  <tr key={one.name}>
                    <th scope="row">{one.name}</th>
                    <td>{one.words}</td>
                    <td>{shownValue(one.real)}</td>
                    <td>{shownValue(one.noise)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {not_measured.map((line) => (
            <p key={line} class="hint">
              {line}
            </p>
          ))}
        </details>
      )}
      {told !== null && (
        <>
          <h3>What not to conclude</h3>
          <ul class="hint">
            {told.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}

function shownValue(value: unknown): string {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? Number(value.toPrecision(3)).toString() : String(value);
}
