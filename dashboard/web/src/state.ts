// What the page shows, and its form in the URL: ?period=7d&metric=visits
// &source=Google&page~=/blog. Everything in the URL is written by people as
// well as by us, so what is not understood is ignored.
import { isMetric, type Metric } from "./metrics";

export const periods = ["today", "7d", "30d", "3mo"] as const;
export type Period = (typeof periods)[number];

export const periodNames: Record<Period, string> = {
  today: "Today", "7d": "7 days", "30d": "30 days", "3mo": "3 months",
};

/** What the Stats API calls them. Each ends with today, on the server's clock and in the site's zone. */
export const periodRanges: Record<Period, string> = { today: "day", "7d": "7d", "30d": "30d", "3mo": "91d" };

/** The dimensions that can be filtered by, by their short names in the URL. */
export const filterDimensions = {
  page: "event:page",
  entry_page: "visit:entry_page",
  exit_page: "visit:exit_page",
  hostname: "event:hostname",
  source: "visit:source",
  channel: "visit:channel",
  referrer: "visit:referrer",
  utm_source: "visit:utm_source",
  utm_medium: "visit:utm_medium",
  utm_campaign: "visit:utm_campaign",
  utm_content: "visit:utm_content",
  utm_term: "visit:utm_term",
  country: "visit:country",
  region: "visit:region",
  city: "visit:city",
  device: "visit:device",
  browser: "visit:browser",
  browser_version: "visit:browser_version",
  os: "visit:os",
  os_version: "visit:os_version",
  event: "event:goal",
} as const;
export type FilterKey = keyof typeof filterDimensions;
export type Dimension = (typeof filterDimensions)[FilterKey];

export interface Filter {
  key: FilterKey;
  op: "is" | "contains";
  values: string[];
}

export interface State {
  period: Period;
  metric: Metric;
  filters: Filter[];
}

export const defaults: State = { period: "today", metric: "visitors", filters: [] };

const maxValues = 50;

export function isPeriod(name: string | null): name is Period {
  return (periods as readonly (string | null)[]).includes(name);
}

function isFilterKey(name: string): name is FilterKey {
  return Object.hasOwn(filterDimensions, name);
}

/** The short name of a dimension. */
export function keyOf(dimension: Dimension): FilterKey {
  for (const [key, name] of Object.entries(filterDimensions)) {
    if (name === dimension) return key as FilterKey;
  }
  throw new Error(`cannot filter by ${dimension}: it has no short name`);
}

/** Reads the state from a URL's query. */
export function parse(search: string, fallback: Period = defaults.period): State {
  const params = new URLSearchParams(search);
  const period = params.get("period");
  const metric = params.get("metric");
  let filters: Filter[] = [];
  let values = 0;
  for (const [name, value] of params) {
    const contains = name.endsWith("~");
    const key = contains ? name.slice(0, -1) : name;
    if (!isFilterKey(key) || value === "" || values >= maxValues) continue;
    values++;
    filters = withFilter(filters, { key, op: contains ? "contains" : "is", values: [value] });
  }
  return {
    period: isPeriod(period) ? period : fallback,
    metric: isMetric(metric) ? metric : defaults.metric,
    filters,
  };
}

/**
 * Writes the state as a URL's query, with its question mark. The period is
 * always in it, because the page without one opens on the reader's last.
 */
export function serialize(state: State): string {
  const params = new URLSearchParams({ period: state.period });
  if (state.metric !== defaults.metric) params.set("metric", state.metric);
  for (const filter of state.filters) {
    for (const value of filter.values) params.append(filter.key + (filter.op === "contains" ? "~" : ""), value);
  }
  // Slashes and colons are legal in a query, and paths are easier to read with them.
  return "?" + params.toString().replaceAll("%2F", "/").replaceAll("%3A", ":");
}

/** Adds a filter; values of one dimension and operator join, because any of them may match. */
export function withFilter(filters: Filter[], added: Filter): Filter[] {
  const at = filters.findIndex((f) => f.key === added.key && f.op === added.op);
  if (at < 0) return [...filters, added];
  const joined = [...new Set([...filters[at]!.values, ...added.values])];
  return filters.with(at, { ...filters[at]!, values: joined });
}

/** Puts a filter in the place of those on the same dimension. */
export function replaceFilter(filters: Filter[], filter: Filter): Filter[] {
  return [...filters.filter((f) => f.key !== filter.key), filter];
}

export function withoutFilter(filters: Filter[], gone: Filter): Filter[] {
  return filters.filter((f) => f !== gone && !(f.key === gone.key && f.op === gone.op));
}
