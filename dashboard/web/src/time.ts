// Dates as the site's owner sees them: local dates of the site's time zone,
// written "2026-11-22", and bucket labels as the Stats API writes them,
// "2026-11-22" for days and "2026-11-22 14:00:00" for hours. Only the server
// reads a clock; arithmetic here is on dates, never on instants, so that
// daylight saving cannot shift it.

/** A span of local dates, both ends included. */
export interface Range {
  from: string;
  to: string;
}

const dayMs = 86_400_000;

function dayNumber(date: string): number {
  const [y, m, d] = date.slice(0, 10).split("-").map(Number);
  return Math.round(Date.UTC(y!, m! - 1, d!) / dayMs);
}

/** Days from one date to another. */
export function daysBetween(from: string, to: string): number {
  return dayNumber(to) - dayNumber(from);
}

/** Moves a bucket's label by whole days; its time of day stays. */
export function moveLabel(label: string, days: number): string {
  return new Date((dayNumber(label) + days) * dayMs).toISOString().slice(0, 10) + label.slice(10);
}

/** The dates of a span that the Stats API writes as two stamps with an offset. */
export function stampedRange(stamps: [string, string]): Range {
  return { from: stamps[0].slice(0, 10), to: stamps[1].slice(0, 10) };
}

/** The time of day of a stamp, as a label of its date; null at the end of a day. */
export function cutShort(stamp: string): string | null {
  const time = stamp.slice(11, 19);
  return time === "23:59:59" ? null : `${stamp.slice(0, 10)} ${time}`;
}

/** A bucket label as a Date whose UTC fields are the label's own; for formatting only. */
export function labelDate(label: string): Date {
  const [y, m, d] = label.slice(0, 10).split("-").map(Number);
  const [h, min, s] = (label.length > 10 ? label.slice(11) : "00:00:00").split(":").map(Number);
  return new Date(Date.UTC(y!, m! - 1, d!, h!, min!, s!));
}
