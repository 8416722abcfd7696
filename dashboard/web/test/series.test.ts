import assert from "node:assert/strict";
import { test } from "node:test";
import { type Row } from "../src/api";
import { lonely, series, split, ticks } from "../src/series";

const row = (label: string, metrics: (number | null)[], before: (number | null)[]): Row =>
  ({ dimensions: [label], metrics, comparison: { metrics: before } });

test("days lie beside the days of the previous period", () => {
  const rows = [
    row("2026-11-20", [3, 50], [0, null]),
    row("2026-11-21", [0, null], [9, 40]),
    row("2026-11-22", [1, 0], [2, 10]),
  ];
  const before = { from: "2026-11-17", to: "2026-11-19" };
  assert.deepEqual(series(rows, 0, 0, before), {
    labels: ["2026-11-20", "2026-11-21", "2026-11-22"],
    values: [3, 0, 1],
    previous: [0, 9, 2],
    previousLabels: ["2026-11-17", "2026-11-18", "2026-11-19"],
    compared: true,
    incomplete: 2,
  });
  assert.deepEqual(series(rows, 0, 1, before).values, [50, null, 0], "a ratio of nothing is unknown, not 0");
});

test("hours: the future is empty and the present hour incomplete, also where a ratio is unknown", () => {
  const rows = [
    row("2026-11-22 00:00:00", [5, 20], [1, 0]),
    row("2026-11-22 01:00:00", [0, null], [4, 30]),
    row("2026-11-22 02:00:00", [null, null], [8, 10]),
  ];
  const s = series(rows, 0, 1, { from: "2026-11-21", to: "2026-11-21" });
  assert.equal(s.incomplete, 1);
  assert.deepEqual(s.values, [20, null, null]);
  assert.equal(s.previousLabels[2], "2026-11-21 02:00:00");
  assert.equal(s.previous[2], 10);
});

test("without a previous period nothing is compared", () => {
  const s = series([row("2026-11-22", [5], [null])], 0, 0, null);
  assert.equal(s.compared, false);
  assert.deepEqual(s.previous, [null]);
});

test("no rows make no lines", () => {
  assert.deepEqual(series([], 0, 0, { from: "2026-11-21", to: "2026-11-21" }).values, []);
});

test("the dashed part leads from the last finished bucket into the unfinished one", () => {
  assert.deepEqual(split([1, 2, 3, null], 2), { solid: [1, 2, null, null], dashed: [null, 2, 3, null] });
  assert.deepEqual(split([1], 0), { solid: [null], dashed: [1] });
});

test("lonely points are found", () => {
  assert.deepEqual(lonely([1, null, 2, 3, null, 4]), [0, 5]);
  assert.deepEqual(lonely([7]), [0]);
  assert.deepEqual(lonely([]), []);
});

test("ticks leave room and start at the first bucket", () => {
  assert.deepEqual(ticks(7, 1000, 60), [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual(ticks(24, 360, 60), [0, 4, 8, 12, 16, 20]);
  assert.equal(ticks(91, 1000, 60)[1], 6);
  assert.deepEqual(ticks(1, 10, 60), [0]);
});
