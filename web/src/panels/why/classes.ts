// The classes of a network as a person chooses among them: the winner first, then the wanted one,
// then the others by their probability.

/** Classes in the order in which they are offered. */
export function ordered(probabilities: ArrayLike<number>, wanted: number | null): number[] {
  const rest = Array.from({ length: probabilities.length }, (_, index) => index);
  rest.sort((one, other) => (probabilities[other] ?? 0) - (probabilities[one] ?? 0) || one - other);
  if (wanted === null || !(wanted in rest) || rest[0] === wanted) return rest;
  return [rest[0]!, wanted, ...rest.slice(1).filter((index) => index !== wanted)];
}

/** Those that a person who typed this may mean, in the given order; beginnings of words first. */
export function matching(order: number[], labels: string[], typed: string): number[] {
  const wanted = typed.trim().toLowerCase();
  if (wanted === "") return order;
  const rank = (index: number) => {
    const label = (labels[index] ?? "").toLowerCase();
    if (label === wanted || String(index) === wanted) return 0;
    if (label.split(/[^\p{L}\p{N}]+/u).some((word) => word.startsWith(wanted))) return 1;
    return label.includes(wanted) ? 2 : 3;
  };
  const ranks = new Map(order.map((index) => [index, rank(index)]));
  return order
    .filter((index) => ranks.get(index)! < 3)
    .sort((one, other) => ranks.get(one)! - ranks.get(other)!);
}
