// From rows of the Stats API to lines of the chart. The chart's x axis is the
// bucket's position, not its time, so that the previous period lies under the
// present one whatever the clocks did.
import { type Row } from "./api";
import { daysBetween, moveLabel, type Range } from "./time";

export type Value = number | null;

export interface Series {
  labels: string[];
  /** Values of the whole period; null where there is none: the future, or a ratio of nothing. */
  values: Value[];
  previous: Value[];
  previousLabels: string[];
  /** Whether there is a previous period to compare with. */
  compared: boolean;
  /** The bucket that is not over yet. */
  incomplete: number;
}

/**
 * Makes lines of rows that have every bucket of the period.
 *
 * @param count  position of a metric that is a count: only the future has none of it
 * @param metric position of the metric to draw
 * @param before the previous period; null where there is nothing to compare with
 */
export function series(rows: Row[], count: number, metric: number, before: Range | null): Series {
  const labels = rows.map((row) => row.dimensions[0] ?? "");
  const apart = before && labels.length > 0 ? daysBetween(before.from, labels[0]!) : 0;
  return {
    labels,
    values: rows.map((row) => row.metrics[metric] ?? null),
    previous: rows.map((row) => (before ? row.comparison?.metrics[metric] ?? null : null)),
    previousLabels: labels.map((label) => moveLabel(label, -apart)),
    compared: before !== null,
    // Every period of the page ends with today, so the last bucket that is not in the future is running.
    incomplete: rows.findLastIndex((row) => (row.metrics[count] ?? null) !== null),
  };
}

/** The finished part of a line, and the dashed rest that leads into the unfinished bucket. */
export function split(values: Value[], incomplete: number): { solid: Value[]; dashed: Value[] } {
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

/** Which labels an axis of a given width can carry, so many pixels apart. */
export function ticks(count: number, width: number, apart: number): number[] {
  const room = Math.max(1, Math.floor(width / apart));
  const step = [1, 2, 3, 4, 6, 7, 12, 14, 21, 28, 42].find((s) => Math.ceil(count / s) <= room) ?? count;
  const out: number[] = [];
  for (let i = 0; i < count; i += step) out.push(i);
  return out;
}
