// The questions that the page asks, as bodies for the Stats API.
import { query, type Answer, type Query } from "./api";
import { metrics } from "./metrics";
import { filterDimensions, periodRanges, type Dimension, type Filter, type State } from "./state";
import { stampedRange, cutShort, type Range } from "./time";

/** One state of the page: every question of a refresh shares it, so that the answers fit together. */
export interface Job {
  site: string;
  state: State;
  signal: AbortSignal;
  /** A refresh that nobody asked for: what is on the page stays until the answer is there. */
  quiet: boolean;
}

/** The spans that an answer is about. */
export interface Spans {
  now: Range;
  /** Null where the previous period is no longer kept. */
  before: Range | null;
  /** Where the previous period was cut, to be as far along as the present one; null where it was not. */
  until: string | null;
}

export function spans(answer: Answer): Spans {
  const { date_range: now, comparison_date_range: before } = answer.query ?? {};
  if (!now) return { now: { from: "", to: "" }, before: null, until: null };
  const compared = before && !answer.meta?.comparison_skip_reason;
  return {
    now: stampedRange(now),
    before: compared ? stampedRange(before) : null,
    until: compared ? cutShort(before[1]) : null,
  };
}

export function filterTerms(filters: Filter[]): unknown[] {
  return filters.map((f) =>
    f.op === "contains"
      ? ["contains", filterDimensions[f.key], f.values, { case_sensitive: false }]
      : ["is", filterDimensions[f.key], f.values]);
}

function base(job: Job, extra: unknown[] = []): Pick<Query, "site_id" | "date_range" | "filters"> {
  const filters = [...filterTerms(job.state.filters), ...extra];
  return {
    site_id: job.site,
    date_range: periodRanges[job.state.period],
    ...(filters.length > 0 ? { filters } : {}),
  };
}

/** All six figures with those of the previous period. */
export function headline(job: Job): Promise<Answer> {
  return query({ ...base(job), metrics: [...metrics], include: { compare: "previous_period" } }, job.signal);
}

/**
 * All six figures by hour or day, each beside the one of the previous period.
 * All six, because they are sums over the same rows and another metric is then
 * on the chart at once.
 */
export function timeSeries(job: Job): Promise<Answer> {
  return query({
    ...base(job),
    metrics: [...metrics],
    dimensions: [job.state.period === "today" ? "time:hour" : "time:day"],
    include: { compare: "previous_period" },
  }, job.signal);
}

export interface Breakdown {
  dimension: Dimension;
  metrics: string[];
  limit: number;
  offset?: number;
  order?: [string, "asc" | "desc"];
  search?: string;
  /** Only these values. */
  among?: string[];
  /** Leave out rows that have no value. */
  onlySet?: boolean;
}

/** The values of one dimension, largest first. */
export function breakdown(job: Job, b: Breakdown): Promise<Answer> {
  const extra: unknown[] = [];
  if (b.search) extra.push(["contains", b.dimension, [b.search], { case_sensitive: false }]);
  if (b.among) extra.push(["is", b.dimension, b.among]);
  if (b.onlySet) extra.push(["is_not", b.dimension, ["(not set)"]]);
  return query({
    ...base(job, extra),
    metrics: b.metrics,
    dimensions: [b.dimension],
    order_by: [b.order ?? [b.metrics[0]!, "desc"]],
    pagination: { limit: b.limit, offset: b.offset ?? 0 },
  }, job.signal);
}

/** How many events the period has: the cheapest way to see whether anything is new. */
export async function pulse(job: Job): Promise<number> {
  const answer = await query({ ...base(job), metrics: ["events"] }, job.signal);
  return answer.results[0]?.metrics[0] ?? 0;
}

/** Whether the site has ever recorded anything. */
export async function everSeen(job: Job): Promise<boolean> {
  const answer = await query({ site_id: job.site, metrics: ["events"], date_range: "all" }, job.signal);
  return (answer.results[0]?.metrics[0] ?? 0) > 0;
}
