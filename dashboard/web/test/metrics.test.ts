import assert from "node:assert/strict";
import { test } from "node:test";
import { about, change, metrics, write, writeTick, type Change, type Metric } from "../src/metrics";

test("change against the previous period", () => {
  const cases: [Metric, number | null, number | null, Change | null][] = [
    ["visitors", 112, 100, { text: "+12%", direction: "up", verdict: "better" }],
    ["visitors", 88, 100, { text: "−12%", direction: "down", verdict: "worse" }],
    ["visitors", 100, 100, { text: "0%", direction: "same", verdict: "neutral" }],
    ["visitors", 0, 100, { text: "−100%", direction: "down", verdict: "worse" }],
    ["visitors", 5, 0, { text: "new", direction: "up", verdict: "better" }],
    ["visitors", 0, 0, null],
    ["visitors", 5, null, null],
    ["bounce_rate", 40, 52, { text: "−12 pts", direction: "down", verdict: "better" }],
    ["bounce_rate", 40, 41, { text: "−1 pt", direction: "down", verdict: "better" }],
    ["bounce_rate", 52, 40, { text: "+12 pts", direction: "up", verdict: "worse" }],
    ["bounce_rate", 40, 0, { text: "+40 pts", direction: "up", verdict: "worse" }],
    ["bounce_rate", null, 40, null],
    ["visit_duration", 90, 0, null],
    ["views_per_visit", 3, 2, { text: "+50%", direction: "up", verdict: "better" }],
  ];
  for (const [metric, now, before, want] of cases) {
    assert.deepEqual(change(metric, now, before, "en"), want, `${metric} ${before} -> ${now}`);
  }
});

test("every metric has a name, a definition and a way to be written", () => {
  for (const metric of metrics) {
    assert.ok(about[metric].name.length > 0 && about[metric].definition.length > 0);
    assert.equal(write(metric, null, "en"), "–");
  }
  assert.equal(write("views_per_visit", 2, "en"), "2.0");
  assert.equal(write("bounce_rate", 52, "en"), "52%");
  assert.equal(write("visit_duration", 84, "en"), "1m 24s");
  assert.deepEqual([0, 30, 60, 90, 3600].map((s) => writeTick("visit_duration", s)), ["0s", "30s", "1m", "1m 30s", "1h"]);
});
