import assert from "node:assert/strict";
import { test } from "node:test";
import { labelsOf, lonely, series, split, ticks } from "../src/series";

const row = (label: string, ...metrics: (number | null)[]) => ({ dimensions: [label], metrics });

test("days: missing buckets are zero for counts and unknown for ratios", () => {
  const range = { from: "2026-11-20", to: "2026-11-22" };
  const now = { date: "2026-11-22", time: "10:00:00" };
  const rows = [row("2026-11-20", 3, 50), row("2026-11-22", 1, null)];
  const before = [row("2026-11-18", 9, 40)];
  const counts = series(range, rows, before, 0, false, now);
  assert.deepEqual(counts.values, [3, 0, 1]);
  assert.deepEqual(counts.previousLabels, ["2026-11-17", "2026-11-18", "2026-11-19"]);
  assert.deepEqual(counts.previous, [0, 9, 0]);
  assert.equal(counts.incomplete, 2);
  const ratios = series(range, rows, before, 1, true, now);
  assert.deepEqual(ratios.values, [50, null, null]);
  assert.deepEqual(ratios.previous, [null, 40, null]);
});

test("hours: the future is empty, the present hour incomplete, yesterday whole", () => {
  const range = { from: "2026-11-22", to: "2026-11-22" };
  const s = series(range, [row("2026-11-22 00:00:00", 5)], [row("2026-11-21 23:00:00", 8)], 0, false, { date: "2026-11-22", time: "02:59:59" });
  assert.equal(s.labels.length, 24);
  assert.deepEqual(s.values.slice(0, 5), [5, 0, 0, null, null]);
  assert.equal(s.incomplete, 2);
  assert.equal(s.previous[23], 8);
});

test("a period that is over has no incomplete bucket", () => {
  const s = series({ from: "2026-11-01", to: "2026-11-02" }, [], [], 0, false, { date: "2026-11-22", time: "00:00:00" });
  assert.equal(s.incomplete, -1);
  assert.deepEqual(s.values, [0, 0]);
});

test("the dashed part leads from the last finished bucket into the unfinished one", () => {
  assert.deepEqual(split([1, 2, 3, null], 2), { solid: [1, 2, null, null], dashed: [null, 2, 3, null] });
  assert.deepEqual(split([1], 0), { solid: [null], dashed: [1] });
  assert.deepEqual(split([1, 2], -1), { solid: [1, 2], dashed: [null, null] });
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

test("labels are hours of one day, days of several", () => {
  assert.equal(labelsOf({ from: "2026-11-22", to: "2026-11-22" })[23], "2026-11-22 23:00:00");
  assert.deepEqual(labelsOf({ from: "2026-02-28", to: "2026-03-01" }), ["2026-02-28", "2026-03-01"]);
});
