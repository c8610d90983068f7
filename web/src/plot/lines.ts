// Which classes have a curve of their own, and how their curves are told apart.

/** Up to here every class has one. */
export const MOST_WHOLE = 10;
const MOST = 8;
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 2]] as const;

export interface Line {
  /** `null` for all other classes together. */
  of: number | null;
  colour: `--${string}`;
  dash: readonly number[];
}

/**
 * The lines of a trajectory by the highest probability that each class had. Classes that are in
 * `always`, such as the wanted one, have a line in any case. A class keeps the look that it has in
 * `before`.
 */
export function chooseLines(
  highest: ArrayLike<number>,
  always: readonly number[],
  before: readonly Line[] = [],
): Line[] {
  const count = highest.length;
  if (count <= MOST_WHOLE) return Array.from({ length: count }, (_, of) => styled(of, of));
  const rank = (of: number) => (always.includes(of) ? 2 : 0) + (highest[of] as number);
  const chosen = Array.from({ length: count }, (_, of) => of)
    .sort((one, other) => rank(other) - rank(one))
    .slice(0, MOST);
  const slots: (number | undefined)[] = Array.from({ length: MOST }, (_, slot) => {
    const was = before[slot]?.of;
    return typeof was === "number" && chosen.includes(was) ? was : undefined;
  });
  for (const of of chosen) {
    if (!slots.includes(of)) slots[slots.indexOf(undefined)] = of;
  }
  const lines = slots.map((of, slot) => styled(of as number, slot));
  return [...lines, { of: null, colour: "--series-others", dash: [1, 4] }];
}

function styled(of: number, slot: number): Line {
  return {
    of,
    colour: `--series-${slot + 1}`,
    dash: DASHES[slot % DASHES.length] as readonly number[],
  };
}

/** The heights of labels so that none covers another, each as near as may be to where it belongs. */
export function apart(wanted: readonly number[], gap: number, least: number, most: number): number[] {
  const order = wanted.map((_, index) => index).sort((one, other) => wanted[one]! - wanted[other]!);
  const found = [...wanted];
  let from = least;
  for (const index of order) {
    found[index] = Math.max(found[index]!, from);
    from = found[index]! + gap;
  }
  let to = most;
  for (const index of order.reverse()) {
    found[index] = Math.min(found[index]!, to);
    to = found[index]! - gap;
  }
  return found;
}

/** A label that fits: its first name, cut where it is still too long. */
export function shortLabel(label: string, most = 18): string {
  const first = label.split(",")[0]?.trim() ?? label;
  return first.length <= most ? first : `${first.slice(0, most - 1).trimEnd()}…`;
}
