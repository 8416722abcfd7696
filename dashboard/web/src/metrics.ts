// The six headline figures: their names, how they are written and the exact
// definition behind each question mark.
import { duration, exact, percent, short, signed, type Locale } from "./format";

export const metrics = [
  "visitors", "visits", "pageviews", "views_per_visit", "bounce_rate", "visit_duration",
] as const;
export type Metric = (typeof metrics)[number];

export function isMetric(name: string | null): name is Metric {
  return (metrics as readonly (string | null)[]).includes(name);
}

interface About {
  name: string;
  definition: string[];
  /** Ratios have no value where nothing was counted; counts are 0 there. */
  ratio: boolean;
}

export const about: Record<Metric, About> = {
  visitors: {
    name: "Visitors",
    ratio: false,
    definition: [
      "People, counted once a day. A visitor is told from the next by a random key that lives for one day of the site and is then destroyed, so nobody can be followed from one day to another.",
      "Someone who comes on three days counts as three visitors of a longer period.",
    ],
  },
  visits: {
    name: "Visits",
    ratio: false,
    definition: ["Sittings of a visitor. A visit ends after 30 minutes in which nothing happened; what comes later is a new visit."],
  },
  pageviews: {
    name: "Pageviews",
    ratio: false,
    definition: ["Pages opened, including reloads and pages that a single-page site shows without loading them."],
  },
  views_per_visit: {
    name: "Views per visit",
    ratio: true,
    definition: ["Pageviews divided by visits."],
  },
  bounce_rate: {
    name: "Bounce rate",
    ratio: true,
    definition: ["The share of visits that opened one page and then did nothing else that was counted. Lower is better, so a fall is shown as an improvement."],
  },
  visit_duration: {
    name: "Visit duration",
    ratio: true,
    definition: ["Mean time from the first to the last thing that was counted in a visit. A visit with only one counts as 0 seconds, so this is less than the time that people really stayed."],
  },
};

/** Writes a metric's value short; null is a ratio of nothing. */
export function write(metric: Metric, value: number | null, locale?: Locale): string {
  if (value === null) return "–";
  switch (metric) {
    case "bounce_rate": return percent(value, locale);
    case "visit_duration": return duration(value);
    case "views_per_visit":
      return new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 2 }).format(value);
    default: return short(value, locale);
  }
}

/** Writes a round value beside an axis: 2m rather than 2m 0s. */
export function writeTick(metric: Metric, value: number, locale?: Locale): string {
  const text = write(metric, value, locale);
  return metric === "visit_duration" ? text.replace(/ 0[ms]$/, "") : text;
}

/** Writes a metric's value in full, for hovering and tables. */
export function writeExact(metric: Metric, value: number | null, locale?: Locale): string {
  if (value === null) return "–";
  switch (metric) {
    case "visit_duration": return duration(value);
    case "bounce_rate": return percent(value, locale);
    default: return exact(value, locale);
  }
}

export type Direction = "up" | "down" | "same";
export type Verdict = "better" | "worse" | "neutral";

export interface Change {
  /** "+12%", or "new" where there was nothing to compare with. */
  text: string;
  direction: Direction;
  verdict: Verdict;
}

/**
 * The change from the previous value to the present one, in percent; bounce
 * rate, itself a percentage, in percentage points. Null where there is nothing
 * to say: no value in one of the periods, or nothing in both.
 */
export function change(metric: Metric, now: number | null, before: number | null, locale?: Locale): Change | null {
  if (now === null || before === null) return null;
  if (before === 0 && metric !== "bounce_rate") {
    if (now === 0 || about[metric].ratio) return null;
    return { text: "new", direction: "up", verdict: "better" };
  }
  const points = metric === "bounce_rate";
  const delta = Math.round(points ? now - before : ((now - before) / before) * 100);
  const direction: Direction = delta > 0 ? "up" : delta < 0 ? "down" : "same";
  const better: Direction = metric === "bounce_rate" ? "down" : "up";
  const verdict: Verdict = direction === "same" ? "neutral" : direction === better ? "better" : "worse";
  const unit = points ? (Math.abs(delta) === 1 ? " pt" : " pts") : "%";
  return { text: signed(delta, locale) + unit, direction, verdict };
}
