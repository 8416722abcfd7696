// The chart with its legend, its readout under the cursor and the same figures
// as a table behind a button.
import type uPlot from "uplot";
import { asFault, concernsAll, type Answer, type ApiError } from "./api";
import { Busy, type SlowListener } from "./busy";
import { fill, h, setText, type Child } from "./dom";
import * as format from "./format";
import * as icons from "./icons";
import { about, change, metrics, writeExact, type Metric } from "./metrics";
import { hideCursor, makePlot, moveCursor } from "./plot";
import { spans, timeSeries, type Job, type Spans } from "./queries";
import { series, type Series } from "./series";

const emptyNote = "Nothing was counted in this period.";

export class Chart {
  readonly element: HTMLElement;
  private readonly host = h("div", { class: "plot", tabindex: "0", role: "application", "aria-roledescription": "chart" });
  private readonly readout = h("div", { class: "readout", hidden: true });
  private readonly spoken = h("p", { class: "unseen", "aria-live": "polite" });
  private readonly tableBox = h("div", { class: "chart-table", hidden: true, tabindex: "0", role: "region" });
  private readonly legendNow = h("span", {});
  private readonly legendBefore = h("span", {});
  private readonly note = h("p", { class: "plot-note", hidden: true }, emptyNote);
  private readonly toggle: HTMLButtonElement;
  private readonly busy: Busy;
  private plot: uPlot | null = null;
  private drawn: Series | null = null;
  private drawnMetric: Metric | null = null;
  private answer: Answer | null = null;
  private metric: Metric = "visitors";
  private cursor: number | null = null;
  private byKey = false;

  constructor(onSlow: SlowListener, private readonly onFault: (fault: ApiError) => void) {
    this.toggle = h("button", { type: "button", class: "quiet", "aria-pressed": "false", on: { click: () => this.switchView() } },
      icons.table(), h("span", {}, "Table"));
    this.element = h("div", { class: "chart" },
      h("div", { class: "legend" },
        h("span", { class: "legend-item now" }, this.legendNow),
        h("span", { class: "legend-item before" }, this.legendBefore),
        this.toggle),
      h("div", { class: "plot-box" }, this.host, this.note, this.readout),
      this.tableBox, this.spoken);
    this.element.classList.add("waiting");
    this.busy = new Busy(this.element, "the chart", onSlow);
    this.host.addEventListener("keydown", (event) => this.onKey(event));
    this.host.addEventListener("blur", () => { if (this.plot && this.byKey) hideCursor(this.plot); });
    this.host.addEventListener("pointermove", () => { this.byKey = false; });
    new ResizeObserver(() => this.resize()).observe(this.host);
  }

  async load(job: Job): Promise<void> {
    try {
      this.answer = await this.busy.during(timeSeries(job), job.quiet);
      this.draw();
    } catch (cause) {
      if (job.signal.aborted) return;
      const fault = asFault(cause);
      if (concernsAll(fault)) this.onFault(fault);
      else if (!job.quiet) this.showFault(fault);
    }
  }

  /** A chart of another question would be worse than none. */
  private showFault(fault: ApiError): void {
    this.answer = null;
    this.drop();
    this.element.classList.add("waiting");
    this.note.hidden = false;
    setText(this.note, fault.message);
  }

  pick(metric: Metric): void {
    this.metric = metric;
    this.draw();
  }

  /** Draws again with the colours of the present theme. */
  recolour(): void {
    this.drop();
    this.draw();
  }

  private drop(): void {
    this.plot?.destroy();
    this.plot = null;
    this.drawn = null;
    this.cursor = null;
    this.readout.hidden = true;
  }

  private draw(): void {
    if (!this.answer || this.answer.results.length === 0) return;
    const covered = spans(this.answer);
    const next = series(this.answer.results, metrics.indexOf("visitors"), metrics.indexOf(this.metric), covered.before);
    this.describe(covered, next);
    if (this.plot && this.drawnMetric === this.metric && JSON.stringify(this.drawn) === JSON.stringify(next)) return;
    const at = this.cursor;
    this.drop();
    this.drawn = next;
    this.drawnMetric = this.metric;
    const width = this.host.clientWidth;
    if (width > 0) {
      // Whoever is reading a point goes on reading it.
      this.plot = makePlot({ host: this.host, width, metric: this.metric, series: next, at, onCursor: (i) => this.onCursor(i) });
    }
    this.drawTable(next);
  }

  private describe({ now, before }: Spans, s: Series): void {
    const { name } = about[this.metric];
    setText(this.legendNow, `${name}, ${format.range(now)}`);
    setText(this.legendBefore, before ? `before, ${format.range(before)}` : "the period before is no longer kept");
    this.legendBefore.parentElement!.classList.toggle("none", before === null);
    this.element.classList.remove("waiting");
    setText(this.note, emptyNote);
    const known = s.values.filter((v) => v !== null);
    this.note.hidden = known.some((v) => v !== 0) || s.previous.some((v) => v !== null && v !== 0);
    const top = known.length > 0 ? Math.max(...known) : 0;
    const at = s.values.indexOf(top);
    const summary = top > 0
      ? `Highest: ${writeExact(this.metric, top)}, ${format.bucket(s.labels[at]!)}.`
      : emptyNote;
    this.host.setAttribute("aria-label", `${name} over time, ${format.range(now)}. ${summary} The left and right arrow keys read the points.`);
  }

  private resize(): void {
    const width = this.host.clientWidth;
    if (width === 0) return;
    if (this.plot) this.plot.setSize({ width, height: this.plot.height });
    else if (this.drawn) this.recolour();
  }

  private onKey(event: KeyboardEvent): void {
    if (!this.plot || !this.drawn || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.drawn.incomplete;
    const at = this.cursor;
    const to = {
      ArrowLeft: at === null ? last : at - 1,
      ArrowRight: at === null ? 0 : at + 1,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) {
      if (event.key === "Escape") hideCursor(this.plot);
      return;
    }
    event.preventDefault();
    this.byKey = true;
    moveCursor(this.plot, Math.max(0, Math.min(this.drawn.labels.length - 1, to)));
    if (this.drawn && this.cursor !== null) setText(this.spoken, this.sentence(this.drawn, this.cursor));
  }

  private sentence(s: Series, i: number): string {
    const unfinished = i === s.incomplete ? ", so far" : "";
    return `${format.bucket(s.labels[i]!)}: ${writeExact(this.metric, s.values[i] ?? null)} ${about[this.metric].name.toLowerCase()}${unfinished}.` +
      (s.compared ? ` Before: ${writeExact(this.metric, s.previous[i] ?? null)}.` : "");
  }

  private onCursor(index: number | null): void {
    this.cursor = index;
    const s = this.drawn;
    this.readout.hidden = index === null || !s || !this.plot;
    if (index === null || !s || !this.plot) return;
    fill(this.readout, ...this.readoutLines(s, index));
    const box = this.readout.parentElement!;
    const x = this.plot.over.offsetLeft + this.plot.valToPos(index, "x");
    const width = this.readout.offsetWidth;
    const beside = x + 12 + width <= box.clientWidth ? x + 12 : x - 12 - width;
    this.readout.style.left = `${Math.max(0, beside)}px`;
  }

  private readoutLines(s: Series, i: number): Child[] {
    const value = s.values[i] ?? null;
    const difference = i === s.incomplete ? null : change(this.metric, value, s.previous[i] ?? null);
    const line = (kind: string, label: string, text: string, extra: Child = null) =>
      h("p", { class: `readout-line ${kind}` }, h("span", {}, label), h("strong", {}, text), extra);
    return [
      h("p", { class: "readout-head" }, about[this.metric].name),
      line("now", format.bucket(s.labels[i]!) + (i === s.incomplete ? ", so far" : ""), writeExact(this.metric, value)),
      s.compared && line("before", format.bucket(s.previousLabels[i]!), writeExact(this.metric, s.previous[i] ?? null)),
      difference && difference.verdict !== "neutral" && h("p", { class: `change ${difference.verdict}` },
        `${difference.direction === "up" ? "↑" : "↓"} ${difference.text}`),
    ];
  }

  private switchView(): void {
    const asTable = this.tableBox.hidden;
    this.tableBox.hidden = !asTable;
    this.host.parentElement!.hidden = asTable;
    this.toggle.setAttribute("aria-pressed", String(asTable));
    fill(this.toggle, asTable ? icons.line() : icons.table(), h("span", {}, asTable ? "Chart" : "Table"));
  }

  private drawTable(s: Series): void {
    const { name } = about[this.metric];
    this.tableBox.setAttribute("aria-label", `${name} as a table`);
    const body = h("tbody");
    s.labels.forEach((label, i) => {
      if (i > s.incomplete) return;
      body.append(h("tr", {},
        h("th", { scope: "row" }, format.bucket(label), i === s.incomplete && h("span", { class: "hint" }, " so far")),
        h("td", {}, writeExact(this.metric, s.values[i] ?? null)),
        s.compared && h("td", {}, writeExact(this.metric, s.previous[i] ?? null))));
    });
    const head = (text: string) => h("th", { scope: "col" }, text);
    fill(this.tableBox, h("table", { class: "figures-table" },
      h("caption", { class: "unseen" }, name),
      h("thead", {}, h("tr", {}, head(s.labels[0]!.length > 10 ? "Hour" : "Day"), head(name), s.compared && head("Before"))), body));
  }
}
