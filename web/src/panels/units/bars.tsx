// Units as signed bars on one scale: to the right for the class, to the left against it. A side is
// told by its place and its sign as well as by its colour.
import { bar, largest, signed, type UnitRow } from "./told";

interface Props {
  rows: UnitRow[];
  /** What effects above 0 and below speak for. */
  pair: [string, string];
  chosen: number | null;
  choose: (unit: number) => void;
}

export function Bars({ rows, pair, chosen, choose }: Props) {
  const end = largest(rows);
  return (
    <div class="bars">
      <p class="bars-ends hint" aria-hidden="true">
        <span>
          ← for {pair[1]}, {signed(-end)}
        </span>
        <span>
          for {pair[0]}, {signed(end)} →
        </span>
      </p>
      <ul role="list">
        {rows.map((row) => (
          <li key={row.unit}>
            <button
              type="button"
              class="unit-row"
              aria-pressed={chosen === row.unit}
              onClick={() => choose(row.unit)}
            >
              <span class="unit-name">
                unit {row.unit}
                {row.turned && <span class="badge">turned</span>}
              </span>
              <span class="unit-bars">
                {row.effect !== undefined && <Bar value={row.effect} end={end} />}
                {row.before !== undefined && <Bar value={row.before} end={end} words="before" />}
                {row.after !== undefined && <Bar value={row.after} end={end} words="after" />}
              </span>
            </button>
          </li>
        ))}
      </ul>
      {rows.some((row) => row.before !== undefined) && (
        <p class="hint">Hollow: before. Filled: after.</p>
      )}
    </div>
  );
}

function Bar({ value, end, words }: { value: number; end: number; words?: string }) {
  const { left, width } = bar(value, end);
  const look = `${value < 0 ? "against" : "for"} ${words ?? ""}`;
  return (
    <span class="unit-bar">
      <span class="unit-line">
        <span class={`unit-fill ${look}`} style={{ left: `${left}%`, width: `${width}%` }} />
      </span>
      <span class="number">
        {words !== undefined && <span class="sr-only">{words} </span>}
        {signed(value)}
      </span>
    </span>
  );
}
