// uPlot, set up the way the page draws: one line for the present, a thin
// dashed one for the past, a dashed end where the bucket is not over yet.
import uPlot from "uplot";
import { lonely, split, ticks, type Series, type Value } from "./series";
import { writeTick, type Metric } from "./metrics";
import * as format from "./format";

export const chartHeight = 300;

const labelEvery = 64;
const perLetter = 7.5;
const noDrag = { x: false, y: false, setScale: false };

// Positions of the lines in uPlot's data; "whole" is not drawn, the cursor reads it.
export const columns = { previous: 1, solid: 2, dashed: 3, whole: 4 } as const;

/** A colour token as the canvas takes it: custom properties are not resolved until a property uses them. */
function colour(host: HTMLElement, token: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  host.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** The accent, thinned for the area under the line. */
function thinned(host: HTMLElement): string {
  return colour(host, "--accent-wash");
}

const steps: Partial<Record<Metric, number[]>> = {
  visit_duration: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400],
  views_per_visit: [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000],
};

/** Steps of 1, 2 and 5 for whole numbers. */
function wholeSteps(): number[] {
  const out: number[] = [];
  for (let size = 1; size <= 1e15; size *= 10) out.push(size, 2 * size, 5 * size);
  return out;
}

function tops(metric: Metric, highest: number): [number, number] {
  if (highest <= 0) return [0, metric === "bounce_rate" ? 100 : 4];
  if (metric === "bounce_rate") return [0, Math.min(100, Math.max(20, highest * 1.1))];
  if (metric === "views_per_visit") return [0, highest * 1.15];
  return [0, Math.max(4, highest * 1.1)];
}

function chartData(series: Series): uPlot.AlignedData {
  const { solid, dashed } = split(series.values, series.incomplete);
  return [series.labels.map((_, i) => i), series.previous, solid, dashed, series.values];
}

const dotSizes: Record<number, number> = { [columns.previous]: 6, [columns.whole]: 9 };

/** The line under the pointer stands on a bucket, not between two. */
function snap(u: uPlot, left: number, top: number): [number, number] {
  return left < 0 ? [left, top] : [u.valToPos(u.posToIdx(left), "x"), top];
}

export interface PlotOptions {
  host: HTMLElement;
  width: number;
  metric: Metric;
  series: Series;
  /** The bucket to put the cursor on at first. */
  at: number | null;
  /** Called with the bucket under the cursor, or null when it leaves. */
  onCursor: (index: number | null) => void;
}

export function makePlot({ host, width, metric, series, at, onCursor }: PlotOptions): uPlot {
  const ink = colour(host, "--muted");
  const accent = colour(host, "--accent");
  const hairline = colour(host, "--hairline");
  const font = `13px ${getComputedStyle(host).fontFamily}`;
  const count = series.labels.length;
  const dots = (values: Value[]) => ({ show: true, size: 6, fill: accent, stroke: accent, filter: () => lonely(values) });
  const hours = series.labels[0]!.length > 10;
  const label = (i: number) => (hours ? format.hour(series.labels[i]!) : format.day(series.labels[i]!));
  const { solid, dashed } = split(series.values, series.incomplete);

  return new uPlot({
    width,
    height: chartHeight,
    legend: { show: false },
    padding: [12, 24, 0, 0],
    cursor: {
      y: false,
      drag: noDrag,
      move: snap,
      points: {
        size: (_, column) => dotSizes[column] ?? 0,
        fill: (_, column) => (column === columns.whole ? accent : ink),
        stroke: "transparent",
      },
    },
    scales: {
      x: { time: false, range: () => (count === 1 ? [-0.5, 0.5] : [0, count - 1]) },
      y: { range: (_, __, max) => tops(metric, max ?? 0) },
    },
    axes: [
      {
        stroke: ink, font, size: 32, gap: 8, grid: { show: false }, ticks: { show: false },
        splits: (u) => ticks(count, u.bbox.width / devicePixelRatio, labelEvery),
        values: (_, splits) => splits.map(label),
      },
      {
        stroke: ink, font, gap: 8, space: 48,
        size: (_, values) => 20 + perLetter * Math.max(2, ...(values ?? []).map((v) => v.length)),
        ticks: { show: false },
        grid: { stroke: hairline, width: 1 },
        incrs: steps[metric] ?? wholeSteps(),
        values: (_, splits) => splits.map((v) => writeTick(metric, v)),
      },
    ],
    series: [
      {},
      { stroke: ink, width: 1, dash: [3, 4], points: { ...dots(series.previous), fill: ink, stroke: ink, size: 4 } },
      { stroke: accent, width: 2, fill: thinned(host), points: dots(solid) },
      { stroke: accent, width: 2, dash: [5, 5], fill: thinned(host), points: dots(dashed) },
      { width: 0, points: { show: false } },
    ],
    hooks: {
      ready: [(u) => { if (at !== null && at < count) moveCursor(u, at); }],
      setCursor: [(u) => onCursor(u.cursor.idx ?? null)],
    },
  }, chartData(series), host);
}

/** Puts the cursor on a bucket, as if the pointer were there. */
export function moveCursor(plot: uPlot, index: number): void {
  plot.setCursor({ left: plot.valToPos(index, "x"), top: 0 });
}

export function hideCursor(plot: uPlot): void {
  plot.setCursor({ left: -10, top: -10 });
}
