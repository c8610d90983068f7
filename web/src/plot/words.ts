// Numbers in words, as the library has them.

/** A network's probability as people say it: none is 0 or 1 but by rounding, also of floats. */
export function percent(probability: number): string {
  if (probability < 0.0005) return "< 0.1 %";
  if (probability >= 0.9995) return "> 99.9 %";
  return `${Number((100 * probability).toFixed(1))} %`;
}

/** A distance with three digits that count. */
export function distance(value: number): string {
  if (value === 0) return "0";
  return value >= 100 ? Math.round(value).toString() : Number(value.toPrecision(3)).toString();
}

/** A largest change in levels of 8 bits: `30.6/255`. */
export function levels(linf: number): string {
  const value = 255 * linf;
  return `${value >= 10 ? Number(value.toFixed(1)) : distance(value)}/255`;
}

export function counted(count: number, one: string, more = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
}
