// What jobs tell of units, and how that becomes bars.
import type { Frame } from "../../api/types";

export interface UnitRow {
  unit: number;
  words: string;
  /** Of one picture: what the margin loses without the unit. */
  effect?: number;
  activation?: number;
  /** Of two pictures: the same of each. */
  before?: number;
  after?: number;
  turned?: boolean;
  favourites?: { picture: string; words: string }[];
}

/** Event `units`: told once effects are known, and again with favourite pictures. */
export interface UnitsTold {
  layer: string;
  summary: string;
  rows: UnitRow[];
  notes: string[];
  /** What the colours of where units looked mean. */
  key: string;
  /** The classes that effects above 0 and below speak for. */
  pair: [number, number];
  complete: boolean;
  data?: string;
  /** where_N, before_N and after_N: where unit N looked; unit_N: what it likes. */
  frames?: Record<string, Frame | Frame[]>;
}

export interface UnitsOffer {
  layers: { name: string; units: number; kind: string }[];
  usual: string;
  data: string;
}

/** The number at the end of all bars: the largest effect there is. */
export function largest(rows: UnitRow[]): number {
  return Math.max(0, ...rows.flatMap(valuesOf).map(Math.abs));
}

export function valuesOf(row: UnitRow): number[] {
  return [row.effect, row.before, row.after].filter((value) => value !== undefined);
}

/** A bar from the middle of its line to the left or right, in hundredths of the line. */
export function bar(value: number, end: number): { left: number; width: number } {
  const width = end > 0 ? (50 * Math.abs(value)) / end : 0;
  return { left: value < 0 ? 50 - width : 50, width };
}

/** A signed number of three digits. */
export function signed(value: number): string {
  const size = Math.abs(value);
  const digits = size >= 1000 || (size > 0 && size < 0.001) ? size.toExponential(1) : size.toPrecision(3);
  return `${value < 0 ? "−" : "+"}${size === 0 ? "0" : digits}`;
}

export function framesOf(told: UnitsTold, name: string): Frame[] {
  const found = told.frames?.[name];
  return found === undefined ? [] : Array.isArray(found) ? found : [found];
}
