// The six figures. Each is a button that puts its metric on the chart, and has
// a question mark with the exact definition.
import { type Answer } from "./api";
import { Busy, type SlowListener } from "./busy";
import { h, setText } from "./dom";
import { about, change, metrics, write, writeExact, type Metric } from "./metrics";
import { popup } from "./popup";
import { headline, spans, type Job } from "./queries";
import * as format from "./format";

const arrows = { up: "↑", down: "↓", same: "→" };

class Figure {
  readonly element: HTMLElement;
  private readonly value = h("span", { class: "figure-value" }, "\u00a0");
  private readonly arrow = h("span", { "aria-hidden": "true" });
  private readonly delta = h("span", {});
  private readonly change = h("span", { class: "change" }, this.arrow, this.delta);
  private readonly button: HTMLButtonElement;

  constructor(private readonly metric: Metric, onPick: (metric: Metric) => void) {
    const { name, definition } = about[metric];
    this.button = h("button", { type: "button", class: "figure-button", "aria-pressed": "false", on: { click: () => onPick(metric) } },
      h("span", { class: "figure-name" }, name),
      h("span", { class: "figure-line" }, this.value, this.change));
    const what = h("button", { type: "button", class: "what", "aria-label": `What is counted: ${name}` }, "?");
    const box = popup(what, "definition", h("h2", {}, name), ...definition.map((text) => h("p", {}, text)));
    this.element = h("div", { class: "figure" }, this.button, what, box);
  }

  pick(metric: Metric): void {
    this.button.setAttribute("aria-pressed", String(metric === this.metric));
  }

  show(now: number | null, before: number | null, beforeDates: string): void {
    setText(this.value, write(this.metric, now));
    this.value.title = writeExact(this.metric, now);
    const difference = change(this.metric, now, before);
    this.change.hidden = difference === null;
    if (difference) {
      setText(this.arrow, arrows[difference.direction]);
      setText(this.delta, difference.text);
      this.change.className = `change ${difference.verdict}`;
    }
    this.change.title = `${writeExact(this.metric, before)} in the previous period: ${beforeDates}`;
  }
}

export class Headline {
  readonly element = h("div", { class: "figures", role: "group", "aria-label": "Headline figures" });
  private readonly figures: Map<Metric, Figure>;
  private readonly busy: Busy;

  constructor(onPick: (metric: Metric) => void, onSlow: SlowListener) {
    this.figures = new Map(metrics.map((metric) => [metric, new Figure(metric, onPick)]));
    this.element.append(...[...this.figures.values()].map((figure) => figure.element));
    this.element.classList.add("waiting");
    this.busy = new Busy(this.element, "the headline figures", onSlow);
  }

  pick(metric: Metric): void {
    for (const figure of this.figures.values()) figure.pick(metric);
  }

  /** Loads the figures; answers whether anything was counted. */
  async load(job: Job): Promise<boolean> {
    const answer = await this.busy.during(headline(job), job.quiet);
    this.show(answer);
    return (answer.results[0]?.metrics ?? []).some((value) => value !== null && value > 0);
  }

  private show(answer: Answer): void {
    const row = answer.results[0];
    const { before, until } = spans(answer);
    const dates = before ? format.range(before) + (until ? `, until ${format.time(until)}` : "") : "";
    metrics.forEach((metric, i) => {
      const empty = about[metric].ratio ? null : 0;
      this.figures.get(metric)!.show(row?.metrics[i] ?? empty, row?.comparison?.metrics[i] ?? null, dates);
    });
    this.element.classList.remove("waiting");
  }
}
