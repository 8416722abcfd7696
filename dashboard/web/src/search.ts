// The box to filter by anything: type a few letters, choose what they mean.
// A combobox as the ARIA patterns describe it: the focus stays in the box, the
// arrow keys move through the list.
import { countriesNamed, dimensionNames, valueName } from "./dimensions";
import { fill, h, outside, uniqueId } from "./dom";
import * as icons from "./icons";
import { breakdown, type Job } from "./queries";
import { filterDimensions, type Filter, type FilterKey } from "./state";

const searched: FilterKey[] = ["page", "source", "event", "browser"];
const perDimension = 4;
const delayMs = 200;
const devices = ["Desktop", "Mobile", "Tablet", "TV", "Console"];

export interface SearchOptions {
  onPick: (filter: Filter) => void;
  /** A job for asking about the period on show. */
  newJob: (signal: AbortSignal) => Job;
}

export class FilterSearch {
  readonly element: HTMLElement;
  private readonly list = h("ul", { class: "suggestions", role: "listbox", id: uniqueId("suggestions"), hidden: true, "aria-label": "Suggestions" });
  private readonly input: HTMLInputElement;
  private found: Filter[] = [];
  private chosen = 0;
  private timer = 0;
  private abort = new AbortController();

  constructor(private readonly options: SearchOptions) {
    this.input = h("input", {
      type: "text", role: "combobox", "aria-expanded": "false", "aria-controls": this.list.id, "aria-autocomplete": "list",
      "aria-label": "Filter by page, source, country, event or browser",
      placeholder: "Filter by page, source, country…", autocomplete: "off", spellcheck: "false", autocapitalize: "off",
    });
    this.element = h("div", { class: "filter-search" }, icons.search(), this.input, h("kbd", { "aria-hidden": "true" }, "/"), this.list);
    this.input.addEventListener("input", () => this.later());
    this.input.addEventListener("keydown", (event) => this.onKey(event));
    this.input.addEventListener("blur", () => this.close());
    // Keeps the focus in the box, which would otherwise close the list before the click arrives.
    this.list.addEventListener("pointerdown", (event) => event.preventDefault());
  }

  focus(): void {
    this.input.focus();
    this.input.select();
  }

  private later(): void {
    window.clearTimeout(this.timer);
    this.abort.abort();
    const text = this.input.value.trim();
    if (text === "") return this.close();
    // What needs no question is there at once.
    this.show(this.local(text));
    this.timer = window.setTimeout(() => void this.ask(text), delayMs);
  }

  private local(text: string): Filter[] {
    const is = (key: FilterKey, value: string): Filter => ({ key, op: "is", values: [value] });
    return [
      { key: "page", op: "contains", values: [text] },
      ...countriesNamed(text, perDimension).map((code) => is("country", code)),
      ...devices.filter((d) => d.toLowerCase().startsWith(text.toLowerCase())).map((d) => is("device", d)),
    ];
  }

  private async ask(text: string): Promise<void> {
    this.abort = new AbortController();
    const { signal } = this.abort;
    const job = this.options.newJob(signal);
    const answers = await Promise.allSettled(searched.map((key) =>
      breakdown(job, { dimension: filterDimensions[key], metrics: ["visitors"], limit: perDimension, search: text })));
    if (signal.aborted) return;
    const found = answers.flatMap((answer, i) => answer.status === "fulfilled"
      ? answer.value.results.map((row): Filter => ({ key: searched[i]!, op: "is", values: [row.dimensions[0] ?? ""] }))
      : []);
    const [contains, ...rest] = this.local(text);
    this.show([contains!, ...found.filter((f) => f.values[0] !== ""), ...rest]);
  }

  private show(found: Filter[]): void {
    this.found = found;
    this.chosen = 0;
    fill(this.list, ...found.map((filter, i) => h("li", {
      role: "option", id: `${this.list.id}-${i}`, "aria-selected": String(i === 0),
      on: { click: () => this.pick(filter), pointermove: () => this.choose(i) },
    },
      h("span", { class: "suggestion-kind" }, `${dimensionNames[filter.key]}${filter.op === "contains" ? " contains" : ""}`),
      h("span", { class: "suggestion-value" }, outside(valueName(filterDimensions[filter.key], filter.values[0]!))))));
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
    this.choose(0);
  }

  private choose(index: number): void {
    this.list.children[this.chosen]?.setAttribute("aria-selected", "false");
    this.chosen = index;
    const item = this.list.children[index];
    item?.setAttribute("aria-selected", "true");
    item?.scrollIntoView({ block: "nearest" });
    if (item) this.input.setAttribute("aria-activedescendant", item.id);
  }

  private pick(filter: Filter): void {
    this.input.value = "";
    this.close();
    this.options.onPick(filter);
  }

  private close(): void {
    window.clearTimeout(this.timer);
    this.abort.abort();
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  private onKey(event: KeyboardEvent): void {
    if (event.key === "Escape") {
      event.stopPropagation();
      if (this.input.value === "") this.input.blur();
      this.input.value = "";
      return this.close();
    }
    if (this.list.hidden || event.isComposing) return;
    const count = this.found.length;
    const to = { ArrowDown: (this.chosen + 1) % count, ArrowUp: (this.chosen + count - 1) % count }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.choose(to);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const filter = this.found[this.chosen];
      if (filter) this.pick(filter);
    }
  }
}
