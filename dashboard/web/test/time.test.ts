import assert from "node:assert/strict";
import { test } from "node:test";
import { addDays, daysIn, localTime, previousRange, withOffset } from "../src/time";

test("dates move over months, leap days and changes of clocks", () => {
  assert.equal(addDays("2026-11-30", 1), "2026-12-01");
  assert.equal(addDays("2028-02-28", 1), "2028-02-29");
  assert.equal(addDays("2026-03-29", -1), "2026-03-28");
  assert.equal(daysIn({ from: "2026-03-01", to: "2026-03-31" }), 31);
});

test("the previous range has the same length and touches", () => {
  assert.deepEqual(previousRange({ from: "2026-11-16", to: "2026-11-22" }), { from: "2026-11-09", to: "2026-11-15" });
  assert.deepEqual(previousRange({ from: "2026-03-01", to: "2026-03-01" }), { from: "2026-02-28", to: "2026-02-28" });
});

test("the site's clock", () => {
  const instant = new Date("2026-11-22T23:30:05Z");
  assert.deepEqual(localTime(instant, "Europe/Berlin"), { date: "2026-11-23", time: "00:30:05" });
  assert.deepEqual(localTime(instant, "America/New_York"), { date: "2026-11-22", time: "18:30:05" });
  assert.deepEqual(localTime(instant, "No/Such"), { date: "2026-11-22", time: "23:30:05" });
});

test("offsets are those of the date, not of today", () => {
  assert.equal(withOffset({ date: "2026-11-22", time: "14:05:09" }, "Europe/Berlin"), "2026-11-22T14:05:09+01:00");
  assert.equal(withOffset({ date: "2026-07-22", time: "14:05:09" }, "Europe/Berlin"), "2026-07-22T14:05:09+02:00");
  assert.equal(withOffset({ date: "2026-07-22", time: "00:00:00" }, "America/St_Johns"), "2026-07-22T00:00:00-02:30");
  assert.equal(withOffset({ date: "2026-07-22", time: "00:00:00" }, "UTC"), "2026-07-22T00:00:00+00:00");
});
