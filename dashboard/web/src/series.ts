// From rows of the Stats API to lines of the chart. The chart's x axis is the
// bucket's position, not its time, so that the previous period lies under the
// present one whatever the clocks did.
import { hourLabels, dayLabels, previousRange, type Local, type Range } from "./time";

export type Value = number | null;

export interface Series {
  labels: string[];
  previousLabels: string[];
  /** Values of the whole period; null where there is none: the future, or a ratio of nothing. */
  values: Value[];
  previous: Value[];
  /** The bucket that is not over yet, or -1. */
  incomplete: number;
}

export interface TimeRow {
  dimensions: string[];
  metrics: Value[];
}

/** The labels of every bucket of a range: hours of one day, days of several. */
export function labelsOf(range: Range): string[] {
  return range.from === range.to ? hourLabels(range.from) : dayLabels(range);
}

function byLabel(rows: TimeRow[], metric: number): Map<string, Value> {
  return new Map(rows.map((row) => [row.dimensions[0] ?? "", row.metrics[metric] ?? null]));
}

/**
 * Lays the rows of a range and of the one before it side by side.
 *
 * @param metric position of the metric in the rows
 * @param ratio  whether a missing bucket is unknown rather than 0
 * @param now    the present on the site's clock
 */
export function series(
  range: Range, rows: TimeRow[], previousRows: TimeRow[], metric: number, ratio: boolean, now: Local,
): Series {
  const labels = labelsOf(range);
  const previousLabels = labelsOf(previousRange(range));
  const hours = labels[0]!.length > 10;
  const current = hours ? `${now.date} ${now.time.slice(0, 2)}:00:00` : now.date;
  const missing = ratio ? null : 0;
  const here = byLabel(rows, metric);
  const before = byLabel(previousRows, metric);
  return {
    labels,
    previousLabels,
    values: labels.map((label) => (label > current ? null : here.get(label) ?? missing)),
    previous: previousLabels.map((label) => before.get(label) ?? missing),
    incomplete: labels.indexOf(current),
  };
}

/** The finished part of a line, and the dashed rest that leads into the unfinished bucket. */
export function split(values: Value[], incomplete: number): { solid: Value[]; dashed: Value[] } {
  if (incomplete < 0) return { solid: values, dashed: values.map(() => null) };
  return {
    solid: values.map((v, i) => (i < incomplete ? v : null)),
    dashed: values.map((v, i) => (i === incomplete || i === incomplete - 1 ? v : null)),
  };
}

/** Positions whose neighbours are both empty: a line cannot show them, a dot can. */
export function lonely(values: Value[]): number[] {
  const empty = (i: number) => values[i] === null || values[i] === undefined;
  return values.flatMap((_, i) => (!empty(i) && empty(i - 1) && empty(i + 1) ? [i] : []));
}

/** Which labels an axis of a given width can carry without crowding. */
export function ticks(count: number, width: number, apart: number): number[] {
  const room = Math.max(1, Math.floor(width / apart));
  const step = [1, 2, 3, 4, 6, 7, 12, 14, 21, 28, 42].find((s) => Math.ceil(count / s) <= room) ?? count;
  const out: number[] = [];
  for (let i = 0; i < count; i += step) out.push(i);
  return out;
}
