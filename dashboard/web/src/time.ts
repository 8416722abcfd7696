// Dates as the site's owner sees them: local dates of the site's time zone,
// written "2026-11-22", and bucket labels as the Stats API writes them,
// "2026-11-22" for days and "2026-11-22 14:00:00" for hours. Arithmetic is on
// dates, never on instants, so that daylight saving cannot shift it.

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

/** Moves a local date by whole days. */
export function addDays(date: string, days: number): string {
  return new Date((dayNumber(date) + days) * dayMs).toISOString().slice(0, 10);
}

/** The number of days in a range. */
export function daysIn(range: Range): number {
  return dayNumber(range.to) - dayNumber(range.from) + 1;
}

/** The range of the same length that ends the day before. */
export function previousRange(range: Range): Range {
  const days = daysIn(range);
  return { from: addDays(range.from, -days), to: addDays(range.to, -days) };
}

/** Every date of a range. */
export function dayLabels(range: Range): string[] {
  return Array.from({ length: daysIn(range) }, (_, i) => addDays(range.from, i));
}

/** Every hour of one date, as a clock that is never put forward or back would show it. */
export function hourLabels(date: string): string[] {
  return Array.from({ length: 24 }, (_, h) => `${date} ${String(h).padStart(2, "0")}:00:00`);
}

/** An instant on the clock of a time zone. */
export interface Local {
  date: string;
  /** "14:05:09" */
  time: string;
}

/** Reads an instant on the clock of a zone; an unknown zone is read as UTC. */
export function localTime(instant: Date, zone: string): Local {
  const options: Intl.DateTimeFormatOptions = {
    year: "numeric", month: "2-digit", day: "2-digit",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  };
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat("en-CA", { ...options, timeZone: zone });
  } catch {
    format = new Intl.DateTimeFormat("en-CA", { ...options, timeZone: "UTC" });
  }
  const part: Record<string, string> = {};
  for (const { type, value } of format.formatToParts(instant)) part[type] = value;
  return {
    date: `${part.year}-${part.month}-${part.day}`,
    time: `${part.hour}:${part.minute}:${part.second}`,
  };
}

/**
 * The instant at which a zone's clock shows a local date and time, with the
 * offset spelled out, as the Stats API takes it: "2026-11-22T14:05:09+01:00".
 */
export function withOffset(local: Local, zone: string): string {
  const [h, m, s] = local.time.split(":").map(Number);
  const asUTC = dayNumber(local.date) * dayMs + ((h! * 60 + m!) * 60 + s!) * 1000;
  const offsetAt = (instant: number): number => {
    const seen = localTime(new Date(instant), zone);
    const [sh, sm, ss] = seen.time.split(":").map(Number);
    return dayNumber(seen.date) * dayMs + ((sh! * 60 + sm!) * 60 + ss!) * 1000 - Math.floor(instant / 1000) * 1000;
  };
  // A second look, because the first guess may lie on the other side of a change of clocks.
  const offset = offsetAt(asUTC - offsetAt(asUTC));
  const minutes = Math.round(Math.abs(offset) / 60_000);
  const sign = offset < 0 ? "-" : "+";
  const two = (n: number) => String(n).padStart(2, "0");
  return `${local.date}T${local.time}${sign}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}

/** A bucket label as a Date whose UTC fields are the label's own; for formatting only. */
export function labelDate(label: string): Date {
  const [y, m, d] = label.slice(0, 10).split("-").map(Number);
  const [h, min, s] = (label.length > 10 ? label.slice(11) : "00:00:00").split(":").map(Number);
  return new Date(Date.UTC(y!, m! - 1, d!, h!, min!, s!));
}
