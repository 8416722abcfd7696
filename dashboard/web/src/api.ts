// The project's own Stats API, and nothing else: no other host is ever asked.

export interface Query {
  site_id: string;
  metrics: string[];
  date_range: string;
  dimensions?: string[];
  filters?: unknown[];
  order_by?: [string, "asc" | "desc"][];
  include?: { total_rows?: boolean; compare?: "previous_period" };
  pagination?: { limit: number; offset: number };
}

export interface Row {
  metrics: (number | null)[];
  dimensions: string[];
  /** The same metrics in the previous period, where the question asked for them. */
  comparison?: { metrics: (number | null)[] };
}

export interface Answer {
  results: Row[];
  meta?: { total_rows?: number; comparison_skip_reason?: string };
  /** What was asked, as the server understood it; spans are stamps with an offset, both ends included. */
  query?: { date_range?: [string, string]; comparison_date_range?: [string, string] };
}

export type Fault = "offline" | "login" | "refused" | "broken";

/** Why there is no answer, in words for the reader. */
export class ApiError extends Error {
  constructor(readonly fault: Fault, message: string) {
    super(message);
  }
}

/** Whatever was thrown, as a fault that can be shown. */
export function asFault(cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause;
  return new ApiError("broken", "The page stumbled over an answer. Reload it; it may be older than the server.");
}

/** Whether a fault is the whole page's and not one answer's. */
export function concernsAll(fault: ApiError): boolean {
  return fault.fault === "login" || fault.fault === "offline";
}

async function ask(path: string, init: RequestInit): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", redirect: "error", ...init });
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new ApiError("offline", "The server cannot be reached. What is on the page stays; it is asked again by itself.");
  }
  if (response.status === 401) {
    throw new ApiError("login", "You are logged out. Nothing is lost: log in and this page comes back.");
  }
  if (!response.ok) throw await refusal(response);
  try {
    return await response.json();
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new ApiError("broken", "The server's answer was cut off. Try again.");
  }
}

async function refusal(response: Response): Promise<ApiError> {
  let reason = "";
  try {
    const body: unknown = await response.json();
    if (typeof body === "object" && body !== null && "error" in body && typeof body.error === "string") reason = body.error;
  } catch {
    // A proxy's page says nothing that the status does not.
  }
  if (response.status === 429) {
    return new ApiError("refused", "Too many questions at once. It is asked again by itself in a while.");
  }
  if (response.status >= 500) {
    return new ApiError("broken", reason || `The server could not count this (status ${response.status}). Visits are still being recorded. Try again.`);
  }
  return new ApiError("refused", reason || `The server refused the question (status ${response.status}). Remove a filter or try again.`);
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === "object" && value !== null && "results" in value && Array.isArray(value.results);
}

/** Asks the Stats API one question. */
export async function query(q: Query, signal?: AbortSignal): Promise<Answer> {
  const answer = await ask("/api/v2/query", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(q),
    signal: signal ?? null,
  });
  if (!isAnswer(answer)) throw new ApiError("broken", "The server's answer was not understood. Reload the page: it may be older than the server.");
  return answer;
}

/** Visitors of the last five minutes. */
export async function liveVisitors(site: string, signal?: AbortSignal): Promise<number> {
  const answer = await ask(`/api/v1/stats/realtime/visitors?site_id=${encodeURIComponent(site)}`, { signal: signal ?? null });
  return typeof answer === "number" ? answer : 0;
}
