// The page: one state, in the URL; everything else follows from it.
import { asFault, liveVisitors } from "./api";
import { zoneOf, type Boot } from "./boot";
import { Chart } from "./chart";
import { openDetails } from "./details";
import { fill, h, setText } from "./dom";
import { emptyState } from "./empty";
import { Filters } from "./filters";
import { Header } from "./header";
import { Headline } from "./headline";
import { showKeys, listenToKeys } from "./keys";
import { recall, remember } from "./memory";
import { metrics, type Metric } from "./metrics";
import { Panel } from "./panel";
import { cityTab, panelPlans, regionTab } from "./panels";
import { Poll } from "./poll";
import { breakdown, everSeen, pulse, type Job } from "./queries";
import { defaults, isPeriod, keyOf, parse, replaceFilter, serialize, withoutFilter, type Dimension, type Filter, type Period, type State } from "./state";
import { Status } from "./status";

export class App {
  private state: State;
  private readonly header: Header;
  private readonly filters: Filters;
  private readonly headline: Headline;
  private readonly chart: Chart;
  private readonly panels: Panel[];
  private readonly status = new Status(() => this.load());
  private readonly content = h("div", { class: "content" });
  private readonly empty: HTMLElement;
  private readonly poll: Poll;
  private abort = new AbortController();
  private seen = false;

  constructor(private readonly root: HTMLElement, private readonly boot: Boot) {
    this.state = this.readURL();
    const onSlow = (name: string, slow: boolean) => this.status.slow(name, slow);
    this.header = new Header({ boot, onPeriod: (p) => this.period(p), onTheme: () => this.chart.recolour(), siteURL: (d) => siteURL(boot.site, d) });
    this.filters = new Filters({
      onPick: (filter) => this.filter(filter),
      onRemove: (filter) => this.change({ filters: withoutFilter(this.state.filters, filter) }),
      onClear: () => this.change({ filters: [] }),
      newJob: (signal) => this.job(signal, false),
    });
    this.headline = new Headline((metric) => this.metric(metric), onSlow);
    this.chart = new Chart(onSlow, (fault) => this.fault(fault));
    this.panels = panelPlans().map((plan) => new Panel({
      ...plan,
      onFilter: (dimension, value) => this.filterBy(dimension, value),
      onDetails: (tab, job) => openDetails(tab, job, tab.name, (d, v) => this.filterBy(d, v)),
      onSlow,
      onFault: (fault) => this.fault(fault),
    }));
    this.empty = emptyState(boot);
    this.poll = new Poll({
      fast: () => this.state.period === "today" || this.empty.isConnected,
      pulse: (signal) => pulse(this.job(signal, true)),
      refresh: () => this.load(true),
      live: async (signal) => this.header.showLive(await liveVisitors(boot.site, signal)),
      onFault: (cause) => this.fault(cause),
      onWell: () => void this.load(true),
    });
  }

  start(): void {
    this.build();
    listenToKeys({
      onPeriod: (period) => this.period(period),
      onMetric: (position) => this.metric(metrics[position]!),
      onSearch: () => this.filters.focusSearch(),
      onClear: () => this.state.filters.length > 0 && this.change({ filters: [] }),
    });
    window.addEventListener("popstate", () => this.show(this.readURL()));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.chart.recolour());
    this.update();
    void this.load().then(() => this.offerPlaces());
  }

  private build(): void {
    const board = h("section", { class: "board", "aria-label": "Overview" }, this.headline.element, this.chart.element);
    fill(this.content, this.filters.element, board, this.status.element, h("div", { class: "pairs" }, ...this.panels.map((p) => p.element)));
    fill(this.root, this.header.element, h(this.root.tagName === "MAIN" ? "div" : "main", {}, this.content), footer(this.boot));
  }

  private readURL(): State {
    const last = recall("period");
    return parse(location.search, isPeriod(last) ? last : defaults.period);
  }

  private job(signal: AbortSignal, quiet: boolean): Job {
    return { site: this.boot.site, state: this.state, signal, quiet };
  }

  private period(period: Period): void {
    remember("period", period);
    if (period !== this.state.period) this.change({ period });
  }

  private metric(metric: Metric): void {
    if (metric !== this.state.metric) this.change({ metric });
  }

  private filter(filter: Filter): void {
    this.change({ filters: replaceFilter(this.state.filters, filter) });
  }

  private filterBy(dimension: Dimension, value: string): void {
    this.filter({ key: keyOf(dimension), op: "is", values: [value] });
  }

  private change(part: Partial<State>): void {
    const next = { ...this.state, ...part };
    if (serialize(next) === serialize(this.state)) return;
    history.pushState(null, "", serialize(next));
    this.show(next);
  }

  private show(next: State): void {
    const before = this.state;
    this.state = next;
    this.update();
    const sameQuestion = before.period === next.period && JSON.stringify(before.filters) === JSON.stringify(next.filters);
    if (!sameQuestion) void this.load();
  }

  private update(): void {
    this.header.update(this.state);
    this.filters.update(this.state.filters);
    this.headline.pick(this.state.metric);
    this.chart.pick(this.state.metric);
  }

  /** Asks everything; a quiet load is one that nobody waits for. */
  private async load(quiet = false): Promise<void> {
    this.abort.abort();
    this.abort = new AbortController();
    const job = this.job(this.abort.signal, quiet);
    if (!quiet) this.poll.reset();
    const headline = this.headline.load(job);
    const rest = [this.chart.load(job), ...this.panels.map((panel) => panel.load(job))];
    try {
      const [any] = await Promise.all([headline, ...rest]);
      this.status.well();
      if (any || this.seen) this.showEmpty(false);
      else await this.lookForAny(job);
    } catch (cause) {
      if (!job.signal.aborted) this.fault(cause);
    }
  }

  /** A period without visits is not yet a site without any. */
  private async lookForAny(job: Job): Promise<void> {
    const seen = await everSeen(job);
    if (!job.signal.aborted) this.showEmpty(!seen);
  }

  private showEmpty(empty: boolean): void {
    if (!empty) this.seen = true;
    if (empty && !this.empty.isConnected) this.content.after(this.empty);
    if (!empty) this.empty.remove();
    this.content.hidden = empty;
  }

  private fault(cause: unknown): void {
    const fault = asFault(cause);
    if (fault.fault === "login") {
      this.poll.stop();
      this.header.showLive(null);
    }
    this.status.fault(fault);
  }

  /** Regions and cities are offered where the location data have them. */
  private async offerPlaces(): Promise<void> {
    const job = this.job(new AbortController().signal, true);
    const panel = this.panels.find((p) => p.element.classList.contains("panel-locations"));
    for (const tab of [regionTab, cityTab]) {
      try {
        const answer = await breakdown(job, { dimension: tab.dimension, metrics: ["visitors"], limit: 1, onlySet: true });
        if (answer.results.length > 0) panel?.offer([tab]);
      } catch {
        // The countries are there; the rest was only an offer.
      }
    }
  }
}

/** The address of another site's page: the present one with the last part of its path exchanged. */
function siteURL(present: string, other: string): string {
  const parts = location.pathname.split("/");
  if (decodeURIComponent(parts.at(-1) ?? "") === present) parts[parts.length - 1] = encodeURIComponent(other);
  else return `/${encodeURIComponent(other)}`;
  return parts.join("/");
}

function footer(boot: Boot): HTMLElement {
  const address = h("code", { class: "address" }, "203.0.", h("span", {}, "x.x"));
  const keys = h("button", { type: "button", class: "quiet", on: { click: showKeys } }, "Keys ", h("kbd", {}, "?"));
  const foot = h("footer", { class: "foot" },
    h("p", {}, "Half of every address is cut off before anything is kept: ", address, "."),
    h("p", { class: "foot-end" }, `Days begin at midnight in ${zoneOf(boot).replaceAll("_", " ")}.`),
    keys);
  const version = h("span", { class: "version" });
  setText(version, boot.version === "" ? "" : `Halfmask ${boot.version}`);
  foot.append(version);
  return foot;
}
