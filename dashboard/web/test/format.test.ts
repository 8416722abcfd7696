import assert from "node:assert/strict";
import { test } from "node:test";
import * as format from "../src/format";

test("counts are exact below ten thousand and short above", () => {
  const cases: [number, string][] = [
    [0, "0"], [7, "7"], [999, "999"], [1000, "1,000"], [9999, "9,999"],
    [10_000, "10k"], [12_431, "12.4k"], [99_940, "99.9k"], [99_960, "100k"], [123_456, "123k"],
    [999_499, "999k"], [999_950, "1M"], [1_250_000, "1.3M"], [3_100_000_000, "3.1B"], [-12_431, "-12.4k"],
  ];
  for (const [n, want] of cases) assert.equal(format.short(n, "en"), want, String(n));
});

test("counts follow the reader's locale", () => {
  assert.equal(format.short(12_431, "de"), "12,4k");
  assert.equal(format.exact(12_431, "de"), "12.431");
});

test("durations", () => {
  const cases: [number, string][] = [
    [0, "0s"], [0.4, "0s"], [59.4, "59s"], [59.6, "1m 0s"], [84, "1m 24s"], [3599, "59m 59s"],
    [3600, "1h 0m"], [7500, "2h 5m"], [7199, "2h 0m"], [-3, "0s"],
  ];
  for (const [n, want] of cases) assert.equal(format.duration(n), want, String(n));
});

test("percentages keep a digit only below one", () => {
  assert.equal(format.percent(0, "en"), "0%");
  assert.equal(format.percent(0.42, "en"), "0.4%");
  assert.equal(format.percent(12.4, "en"), "12%");
  assert.equal(format.percent(100, "en"), "100%");
});

test("changes carry a sign, and a real minus", () => {
  assert.equal(format.signed(12.4, "en"), "+12");
  assert.equal(format.signed(-4.6, "en"), "−5");
  assert.equal(format.signed(-0.2, "en"), "0");
  assert.equal(format.signed(123_456, "en"), "+123k");
});

test("dates are day first in English and the locale's own elsewhere", () => {
  assert.equal(format.day("2026-11-22", "en-US"), "22 Nov");
  assert.equal(format.day("2026-09-02", "en-GB"), "2 Sep");
  assert.equal(format.day("2026-11-22", "de"), "22. Nov.");
  assert.equal(format.range({ from: "2026-11-16", to: "2026-11-22" }, "en-US").replaceAll(" ", ""), "16–22Nov");
  assert.match(format.range({ from: "2026-11-22", to: "2026-11-22" }, "en"), /^Sun,? 22 Nov$/);
});

test("hours are on the reader's kind of clock", () => {
  assert.equal(format.hour("2026-11-22 14:00:00", "en-GB"), "14:00");
  assert.match(format.hour("2026-11-22 14:00:00", "en-US"), /^2\sPM$/);
});
