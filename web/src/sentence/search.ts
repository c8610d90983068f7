// Finding a class or a network among a thousand by what a person types.

export interface Item {
  /** What is chosen by it. */
  value: string;
  /** What is searched and shown. */
  label: string;
  /** At the end of the line, such as a probability. */
  aside?: string;
  /** Below the label. */
  says?: string;
}

/** Lower case without accents and underscores. */
export function fold(text: string): string {
  return text
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .replaceAll("_", " ")
    .toLowerCase()
    .trim();
}

/** How well a label fits; 0 where it does not. A word's beginning is more than its inside. */
function fit(label: string, query: string): number {
  const names = label.split(",").map((name) => name.trim());
  if (names.includes(query)) return 5;
  if (label.startsWith(query)) return 4;
  if (names.some((name) => name.startsWith(query))) return 3;
  if (label.split(/[\s,-]+/).some((word) => word.startsWith(query))) return 2;
  return label.includes(query) ? 1 : 0;
}

/** Those that fit all words of a query, the best first; all of them where nothing is typed. */
export function search(items: readonly Item[], query: string): readonly Item[] {
  const wanted = fold(query);
  if (wanted === "") return items;
  const found = items.flatMap((item, place) => {
    const label = fold(item.label);
    const exact = item.value === query.trim() ? 6 : fit(label, wanted);
    const all = wanted.split(/\s+/).every((word) => label.includes(word));
    return exact > 0 || all ? [{ item, place, how: exact }] : [];
  });
  return found.sort((a, b) => b.how - a.how || a.place - b.place).map(({ item }) => item);
}
