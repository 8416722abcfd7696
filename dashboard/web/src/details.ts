// The full table behind a panel, in a dialog: every value, sortable, with a
// search of its own.
import { asFault, type Answer } from "./api";
import { Busy } from "./busy";
import { countriesNamed, valueName } from "./dimensions";
import { fill, h, iconButton, outside, setText, uniqueId } from "./dom";
import { percent } from "./format";
import * as icons from "./icons";
import { write, writeExact, type Metric } from "./metrics";
import { type Tab } from "./panel";
import { breakdown, type Breakdown, type Job } from "./queries";
import { skeleton } from "./rows";
import { type Dimension } from "./state";

const page = 50;
const searchDelayMs = 250;

interface Column {
  metric: string;
  name: string;
  write: (value: number | null) => string;
  exact: (value: number | null) => string;
}

function figure(metric: Metric, name: string): Column {
  return { metric, name, write: (v) => write(metric, v), exact: (v) => writeExact(metric, v) };
}

const count = (metric: string, name: string): Column => ({ ...figure("visitors", name), metric });
const share: Column = {
  metric: "percentage", name: "Share",
  write: (v) => (v === null ? "–" : percent(v)), exact: (v) => (v === null ? "–" : percent(v)),
};

function columnsFor(dimension: Dimension): Column[] {
  const visitors = count("visitors", "Visitors");
  switch (dimension) {
    case "event:goal": return [visitors, share, count("events", "Events")];
    case "event:page": return [visitors, share, count("pageviews", "Pageviews")];
    default: return [visitors, share, count("visits", "Visits"), figure("bounce_rate", "Bounce rate"), figure("visit_duration", "Duration")];
  }
}

/** Opens the dialog; it removes itself when it closes. */
export function openDetails(tab: Tab, job: Job, title: string, onFilter: (dimension: Dimension, value: string) => void): void {
  new Details(tab, job, title, onFilter);
}

class Details {
  private readonly columns: Column[];
  private readonly dialog: HTMLDialogElement;
  private readonly body = h("tbody");
  private readonly note = h("p", { class: "details-note", role: "status" });
  private readonly more: HTMLButtonElement;
  private readonly scroller = h("div", { class: "details-scroll" });
  private readonly heads = new Map<string, HTMLElement>();
  private readonly busy: Busy;
  private readonly abort = new AbortController();
  private order: [string, "asc" | "desc"] = ["visitors", "desc"];
  private wanted = "";
  private offset = 0;
  private turn = 0;

  constructor(private readonly tab: Tab, private readonly job: Job, title: string, private readonly onFilter: (dimension: Dimension, value: string) => void) {
    this.columns = columnsFor(tab.dimension);
    const heading = h("h2", { id: uniqueId("details") }, title);
    this.more = h("button", { type: "button", hidden: true, on: { click: () => void this.load(true) } }, "Show more");
    this.dialog = h("dialog", { class: "details", "aria-labelledby": heading.id },
      h("div", { class: "details-head" }, heading, this.makeSearch(), iconButton("Close", icons.close(), {
        // On a touch screen the search box would bring the keyboard up over the table.
        autofocus: matchMedia("(pointer: coarse)").matches,
        on: { click: () => this.dialog.close() },
      })),
      this.scroller);
    fill(this.scroller, this.makeTable(), this.note, this.more);
    this.busy = new Busy(this.dialog, "the full table", (_, slow) => {
      if (slow) setText(this.note, "Still counting. A long period over many visits takes longest.");
    });
    this.dialog.addEventListener("close", () => {
      this.abort.abort();
      this.dialog.remove();
    });
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    document.body.append(this.dialog);
    this.dialog.showModal();
    void this.load(false);
  }

  private makeSearch(): HTMLElement {
    let timer = 0;
    const input = h("input", { type: "search", class: "details-search", placeholder: `Search ${this.tab.name.toLowerCase()}`, "aria-label": `Search ${this.tab.name.toLowerCase()}`, autocomplete: "off", spellcheck: "false" });
    input.addEventListener("input", () => {
      window.clearTimeout(timer);
      timer = window.setTimeout(() => {
        this.wanted = input.value.trim();
        void this.load(false);
      }, searchDelayMs);
    });
    return input;
  }

  private makeTable(): HTMLElement {
    const heads = this.columns.map((column) => {
      const head = h("th", { scope: "col" },
        h("button", { type: "button", class: "sort", on: { click: () => this.sort(column.metric) } }, column.name));
      this.heads.set(column.metric, head);
      return head;
    });
    return h("table", { class: "figures-table" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, this.tab.one), ...heads)), this.body);
  }

  private sort(metric: string): void {
    this.order = [metric, this.order[0] === metric && this.order[1] === "desc" ? "asc" : "desc"];
    void this.load(false);
  }

  private question(): Breakdown | null {
    const question: Breakdown = {
      dimension: this.tab.dimension,
      metrics: this.columns.map((c) => c.metric),
      limit: page,
      offset: this.offset,
      order: this.order,
      ...(this.tab.onlySet ? { onlySet: true } : {}),
    };
    if (this.wanted === "") return question;
    if (this.tab.dimension !== "visit:country") return { ...question, search: this.wanted };
    // Storage knows countries by their codes only.
    const among = countriesNamed(this.wanted, 50);
    return among.length > 0 ? { ...question, among } : null;
  }

  private async load(further: boolean): Promise<void> {
    const turn = ++this.turn;
    this.offset = further ? this.offset + page : 0;
    this.more.hidden = true;
    for (const [metric, head] of this.heads) {
      if (metric === this.order[0]) head.setAttribute("aria-sort", this.order[1] === "desc" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    if (!further && this.body.childElementCount === 0) fill(this.note, skeleton(9));
    try {
      const question = this.question();
      const none: Answer = { results: [] };
      const answer = question ? await this.busy.during(breakdown({ ...this.job, signal: this.abort.signal }, question)) : none;
      if (turn === this.turn) this.show(answer, further);
    } catch (cause) {
      if (this.abort.signal.aborted || turn !== this.turn) return;
      fill(this.note, h("span", { class: "error" }, asFault(cause).message));
    }
  }

  private show(answer: Answer, further: boolean): void {
    const rows = answer.results.map((row) => {
      const value = row.dimensions[0] ?? "";
      const name = valueName(this.tab.dimension, value);
      const pick = () => {
        this.dialog.close();
        this.onFilter(this.tab.dimension, value);
      };
      return h("tr", {},
        h("th", { scope: "row" }, h("button", { type: "button", class: "row-button", title: "Show only this", disabled: value === "", on: { click: pick } }, outside(name))),
        ...this.columns.map((column, i) => h("td", { title: column.exact(row.metrics[i] ?? null) }, column.write(row.metrics[i] ?? null))));
    });
    if (further) this.body.append(...rows);
    else this.body.replaceChildren(...rows);
    this.more.hidden = answer.results.length < page;
    const nothing = this.wanted === "" ? "Nothing was counted in this period." : "Nothing matches. Try fewer letters.";
    fill(this.note, this.body.childElementCount === 0 ? nothing : "");
  }
}
