// The classes of a network as a person chooses among them: the winner first, then the wanted one,
// then the others by their probability.
import { search } from "../../sentence/search";

/** Classes in the order in which they are offered. */
export function ordered(probabilities: ArrayLike<number>, wanted: number | null): number[] {
  const rest = Array.from({ length: probabilities.length }, (_, index) => index);
  rest.sort((one, other) => (probabilities[other] ?? 0) - (probabilities[one] ?? 0) || one - other);
  if (wanted === null || !(wanted in rest) || rest[0] === wanted) return rest;
  return [rest[0]!, wanted, ...rest.slice(1).filter((index) => index !== wanted)];
}

/** Those that a person who typed this may mean, the best first. */
export function matching(order: number[], labels: string[], typed: string): number[] {
  const items = order.map((index) => ({ value: String(index), label: labels[index] ?? "" }));
  return search(items, typed).map((item) => Number(item.value));
}
