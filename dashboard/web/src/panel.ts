// A panel: tabs, and the largest values of the dimension behind the chosen one.
import { asFault, concernsAll, type Answer, type ApiError } from "./api";
import { Busy, type SlowListener } from "./busy";
import { valueName } from "./dimensions";
import { fill, h, uniqueId, type Child } from "./dom";
import { recall, remember } from "./memory";
import { breakdown, type Job } from "./queries";
import { Rows, skeleton, type RowData } from "./rows";
import { type Dimension } from "./state";

export interface Tab {
  name: string;
  dimension: Dimension;
  /** What one value is called, over its column. */
  one: string;
  /** Rows without a value say nothing here. */
  onlySet?: boolean;
  /** Shown where there is nothing to show. */
  empty: Child[];
}

export interface PanelOptions {
  id: string;
  /** What the panel is about, in the middle of a sentence. */
  name: string;
  tabs: Tab[];
  rows: number;
  /** Metrics after visitors and their column names. */
  more?: { metric: string; name: string }[];
  onFilter: (dimension: Dimension, value: string) => void;
  onDetails: (tab: Tab, job: Job) => void;
  onSlow: SlowListener;
  onFault: (fault: ApiError) => void;
}

export class Panel {
  readonly element: HTMLElement;
  private readonly tablist = h("div", { class: "tabs", role: "tablist" });
  private readonly body = h("div", { class: "panel-body", role: "tabpanel", id: uniqueId("panel") });
  private readonly details: HTMLButtonElement;
  private readonly rows: Rows;
  private readonly busy: Busy;
  private tab: Tab;
  private job: Job | null = null;
  private shown: Tab | null = null;
  private turn = 0;

  constructor(private readonly options: PanelOptions) {
    const { tabs, id, name, more = [] } = options;
    this.tab = tabs.find((tab) => tab.name === recall(`tab.${id}`)) ?? tabs[0]!;
    this.rows = new Rows(["Visitors", ...more.map((m) => m.name)]);
    this.details = h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => this.job && options.onDetails(this.tab, this.job) } }, "Details");
    this.element = h("section", { class: `panel panel-${id}`, "aria-label": name.replace(/^the /, "") }, h("div", { class: "panel-head" }, this.tablist, this.details), this.body);
    this.element.dataset.rows = String(options.rows);
    this.busy = new Busy(this.element, name, options.onSlow);
    fill(this.body, skeleton(options.rows));
    this.tablist.addEventListener("keydown", (event) => this.onKey(event));
    this.drawTabs();
  }

  /** Adds tabs that turned out to have something to show. */
  offer(tabs: Tab[]): void {
    for (const tab of tabs) {
      if (!this.options.tabs.includes(tab)) this.options.tabs.push(tab);
    }
    this.drawTabs();
  }

  async load(job: Job): Promise<void> {
    this.job = job;
    const tab = this.tab;
    const turn = ++this.turn;
    const { more = [], rows, onFault } = this.options;
    try {
      const answer = await this.busy.during(breakdown(job, {
        dimension: tab.dimension,
        metrics: ["visitors", "percentage", ...more.map((m) => m.metric)],
        limit: rows,
        ...(tab.onlySet ? { onlySet: true } : {}),
      }), job.quiet);
      // A slow answer may be overtaken by a later question.
      if (turn === this.turn) this.show(tab, answer);
    } catch (cause) {
      if (job.signal.aborted || turn !== this.turn) return;
      const fault = asFault(cause);
      if (concernsAll(fault)) {
        onFault(fault);
        // What is there stays; grey stripes would promise an answer.
        if (this.shown === null) this.showNothing();
      } else if (!job.quiet) {
        this.showFault(fault);
      }
    }
  }

  private show(tab: Tab, answer: Answer): void {
    const rows = answer.results.map((row): RowData => {
      const value = row.dimensions[0] ?? "";
      const [visitors, share, ...more] = row.metrics;
      return {
        key: value,
        name: valueName(tab.dimension, value),
        pick: value === "" ? null : () => this.options.onFilter(tab.dimension, value),
        value: visitors ?? 0,
        share: share ?? null,
        more: more.map((n) => n ?? 0),
      };
    });
    this.details.hidden = rows.length === 0;
    if (rows.length === 0) {
      fill(this.body, h("div", { class: "panel-empty" }, ...(typeof tab.empty[0] === "string" ? [h("p", {}, ...tab.empty)] : tab.empty)));
      this.shown = null;
      return;
    }
    this.rows.name(tab.one);
    this.rows.show(rows);
    if (this.shown !== tab || !this.body.contains(this.rows.element)) fill(this.body, this.rows.element);
    this.shown = tab;
  }

  private showNothing(): void {
    this.details.hidden = true;
    fill(this.body, h("div", { class: "panel-empty" }, h("p", {}, "No answer yet.")));
  }

  private showFault(fault: ApiError): void {
    this.shown = null;
    this.details.hidden = true;
    fill(this.body, h("div", { class: "panel-empty" },
      h("p", { class: "error" }, fault.message),
      h("button", { type: "button", on: { click: () => this.job && void this.load({ ...this.job, quiet: false }) } }, "Try again")));
  }

  private drawTabs(): void {
    fill(this.tablist, ...this.options.tabs.map((tab) => h("button", {
      type: "button",
      role: "tab",
      "aria-selected": String(tab === this.tab),
      "aria-controls": this.body.id,
      tabindex: tab === this.tab ? "0" : "-1",
      on: { click: () => this.choose(tab) },
    }, tab.name)));
  }

  private choose(tab: Tab): void {
    if (tab === this.tab) return;
    this.tab = tab;
    remember(`tab.${this.options.id}`, tab.name);
    for (const [i, button] of [...this.tablist.children].entries()) {
      const chosen = this.options.tabs[i] === tab;
      button.setAttribute("aria-selected", String(chosen));
      button.setAttribute("tabindex", chosen ? "0" : "-1");
    }
    fill(this.body, skeleton(this.options.rows));
    if (this.job) void this.load({ ...this.job, quiet: false });
  }

  private onKey(event: KeyboardEvent): void {
    const at = this.options.tabs.indexOf(this.tab);
    const last = this.options.tabs.length - 1;
    const to = { ArrowLeft: at === 0 ? last : at - 1, ArrowRight: at === last ? 0 : at + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(this.options.tabs[to]!);
    (this.tablist.children[to] as HTMLElement).focus();
  }
}

