// Keeping the page fresh without wearing the server out.
//
// While the page is visible it feels a pulse: the number of events in the
// period, one sum over one site. For "Today" that is every second, so that a
// visit is on the page a moment after it is stored; for longer periods every
// ten. Only when the number changes is the rest asked again, and once a minute
// for what changes without an event: the hour, the day, time spent. Each step waits
// at least five times as long as the server took to answer the last one: where
// answers are slow, because the site is large or the server busy, an open page
// asks less and less often. A page in the background asks nothing at all.

const fastMs = 1000;
const slowMs = 10_000;
const restTimes = 5;
const longestMs = 60_000;
const liveMs = 10_000;
const everyMs = 60_000;

export interface PollOptions {
  /** Whether what is on show should be up to the second. */
  fast: () => boolean;
  /** A cheap number that changes when anything new is stored. */
  pulse: (signal: AbortSignal) => Promise<number>;
  /** Asks everything again. */
  refresh: () => Promise<void>;
  /** Asks who is there now. */
  live: (signal: AbortSignal) => Promise<void>;
  onFault: (cause: unknown) => void;
  onWell: () => void;
}

/** How long to rest after a step that took this long. */
export function rest(tookMs: number, atLeastMs: number): number {
  return Math.min(longestMs, Math.max(atLeastMs, tookMs * restTimes));
}

export class Poll {
  private timer = 0;
  private abort = new AbortController();
  private last: number | null = null;
  private refreshAfter = 0;
  private refreshBy = 0;
  private liveAfter = 0;
  private failures = 0;
  private pulseTook = 0;

  constructor(private readonly options: PollOptions) {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.stop() : this.start()));
  }

  /** Starts over: the present number is taken as known. */
  start(): void {
    this.stop();
    this.liveAfter = 0;
    if (!document.hidden) void this.step(this.abort.signal);
  }

  /**
   * Forgets the last number, because another question is on the page. Called
   * before that question is asked: what is stored in between is then seen as
   * a change.
   */
  reset(): void {
    this.last = null;
    this.refreshBy = performance.now() + everyMs;
    this.start();
  }

  stop(): void {
    window.clearTimeout(this.timer);
    this.abort.abort();
    this.abort = new AbortController();
  }

  private async step(signal: AbortSignal): Promise<void> {
    const began = performance.now();
    try {
      await Promise.all([this.feel(signal), this.countLive(signal, began)]);
      if (signal.aborted) return;
      if (this.failures > 0) this.options.onWell();
      this.failures = 0;
    } catch (cause) {
      if (signal.aborted) return;
      this.failures++;
      this.options.onFault(cause);
    }
    const pace = this.options.fast() ? fastMs : slowMs;
    const wait = rest(this.pulseTook, pace * 2 ** Math.min(this.failures, 5));
    this.timer = window.setTimeout(() => void this.step(signal), wait);
  }

  private async feel(signal: AbortSignal): Promise<void> {
    const asked = performance.now();
    const number = await this.options.pulse(signal);
    const began = performance.now();
    this.pulseTook = began - asked;
    this.last ??= number;
    const due = began >= this.refreshBy || (number !== this.last && began >= this.refreshAfter);
    if (!due || signal.aborted) return;
    await Promise.all([this.options.refresh(), this.options.live(signal)]);
    this.last = number;
    const ended = performance.now();
    this.liveAfter = ended + liveMs;
    this.refreshAfter = ended + rest(ended - began, fastMs);
    this.refreshBy = ended + Math.max(everyMs, rest(ended - began, everyMs));
  }

  private async countLive(signal: AbortSignal, at: number): Promise<void> {
    if (at < this.liveAfter) return;
    this.liveAfter = at + liveMs;
    await this.options.live(signal);
  }
}
