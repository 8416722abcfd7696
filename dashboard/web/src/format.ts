// Numbers and dates in words. Everything takes the locale, so that tests do not
// depend on the machine; the page passes the reader's own.
import { labelDate, type Range } from "./time";

export type Locale = string | undefined;

const steps: [number, string][] = [[1e9, "B"], [1e6, "M"], [1e3, "k"]];

/** A count, exact and grouped: 12,431. */
export function exact(n: number, locale?: Locale): string {
  return new Intl.NumberFormat(locale, { maximumFractionDigits: 2 }).format(n);
}

/** A count, short from ten thousand on: 9,999, 12.4k, 3.1M. */
export function short(n: number, locale?: Locale): string {
  if (Math.abs(n) < 10_000) return exact(n, locale);
  for (const [size, unit] of steps) {
    const scaled = n / size;
    // 999,950 is 1M and not 1,000k.
    if (Math.abs(scaled) >= 0.9995) {
      const digits = Math.abs(scaled) < 99.95 ? 1 : 0;
      return new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(scaled) + unit;
    }
  }
  return exact(n, locale);
}

/** Seconds as people say them: 0s, 42s, 1m 24s, 2h 5m. */
export function duration(seconds: number): string {
  const s = Math.round(Math.max(0, seconds));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  const m = Math.round(s / 60);
  return `${Math.floor(m / 60)}h ${m % 60}m`;
}

/** A percentage: 0.4%, 12%, 100%. */
export function percent(n: number, locale?: Locale): string {
  const digits = n !== 0 && Math.abs(n) < 1 ? 1 : 0;
  return new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: digits }).format(n / 100);
}

/** A change with its sign: +12%, −4%, 0%. */
export function signed(n: number, locale?: Locale): string {
  const rounded = Math.round(n);
  const size = short(Math.abs(rounded), locale);
  return `${rounded > 0 ? "+" : rounded < 0 ? "−" : ""}${size}`;
}

// "22 Nov" for every English reader; others read dates their own way.
function dateLocale(locale: Locale): Locale {
  const named = locale ?? new Intl.DateTimeFormat().resolvedOptions().locale;
  return named.toLowerCase().startsWith("en") ? "en-GB" : named;
}

function dates(locale: Locale, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat(dateLocale(locale), { ...options, timeZone: "UTC" });
}

// Browsers disagree on "Sept" and on how thin the spaces are.
function plain(date: string): string {
  return date.replace(/\bSept\b/, "Sep").replaceAll(/[\u2009\u202f]/g, " ");
}

/** A date without its year: 22 Nov. */
export function day(label: string, locale?: Locale): string {
  return plain(dates(locale, { day: "numeric", month: "short" }).format(labelDate(label)));
}

/** A date with its weekday: Sun, 22 Nov. */
export function weekday(label: string, locale?: Locale): string {
  return plain(dates(locale, { weekday: "short", day: "numeric", month: "short" }).format(labelDate(label)));
}

/** An hour on the reader's kind of clock: 14:00 or 2 PM. */
export function hour(label: string, locale?: Locale): string {
  const reader = new Intl.DateTimeFormat(locale, { hour: "numeric" });
  const options: Intl.DateTimeFormatOptions = reader.resolvedOptions().hour12
    ? { hour: "numeric" }
    : { hour: "2-digit", minute: "2-digit" };
  return new Intl.DateTimeFormat(locale, { ...options, timeZone: "UTC" }).format(labelDate(label));
}

/** A time of day to the minute: 14:05 or 2:05 PM. */
export function time(label: string, locale?: Locale): string {
  return new Intl.DateTimeFormat(locale, { hour: "numeric", minute: "2-digit", timeZone: "UTC" }).format(labelDate(label));
}

/** A span of dates: 16–22 Nov; a single date stands alone. */
export function range(r: Range, locale?: Locale): string {
  if (r.from === r.to) return weekday(r.from, locale);
  return plain(dates(locale, { day: "numeric", month: "short" }).formatRange(labelDate(r.from), labelDate(r.to)));
}

/** A bucket in full, for tooltips and tables. */
export function bucket(label: string, locale?: Locale): string {
  return label.length > 10 ? `${day(label, locale)}, ${hour(label, locale)}` : weekday(label, locale);
}
