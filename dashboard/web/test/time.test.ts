import assert from "node:assert/strict";
import { test } from "node:test";
import { cutShort, daysBetween, moveLabel, stampedRange } from "../src/time";

test("labels move over months, leap days and changes of clocks, and keep their hour", () => {
  assert.equal(moveLabel("2026-11-30", 1), "2026-12-01");
  assert.equal(moveLabel("2028-02-28", 1), "2028-02-29");
  assert.equal(moveLabel("2026-03-29 02:00:00", -1), "2026-03-28 02:00:00");
  assert.equal(moveLabel("2027-01-01", -365), "2026-01-01");
});

test("days between dates", () => {
  assert.equal(daysBetween("2026-03-01", "2026-04-01"), 31);
  assert.equal(daysBetween("2026-11-22", "2026-11-15"), -7);
});

test("stamps are read on the site's clock, not the reader's", () => {
  assert.deepEqual(stampedRange(["2026-11-16T00:00:00+14:00", "2026-11-22T23:59:59+14:00"]), { from: "2026-11-16", to: "2026-11-22" });
});

test("a span that was cut says where", () => {
  assert.equal(cutShort("2026-11-21T14:02:09+01:00"), "2026-11-21 14:02:09");
  assert.equal(cutShort("2026-11-21T23:59:59+01:00"), null);
});
