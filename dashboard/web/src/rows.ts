// The rows of a panel: a table whose first column is a button that filters,
// with a bar behind it. Rows keep their elements over a refresh, so that a
// reader's place in the list survives it.
import { h, setText } from "./dom";
import { exact, percent, short } from "./format";

export interface RowData {
  key: string;
  /** Null for a row that cannot be filtered by. */
  pick: (() => void) | null;
  name: string;
  value: number;
  /** Of all visitors, in percent. */
  share: number | null;
  /** Further columns. */
  more: number[];
}

const titleLength = 300;

class RowView {
  readonly element: HTMLTableRowElement;
  private readonly button = h("button", { type: "button", class: "row-button" });
  private readonly name = h("bdi", { class: "row-name" });
  private readonly bar = h("span", { class: "row-bar", "aria-hidden": "true" });
  private readonly share = h("td", { class: "row-share" });
  private readonly value = h("td", { class: "row-value" });
  private readonly more: HTMLElement[];
  private pick: (() => void) | null = null;

  constructor(columns: number) {
    this.button.append(this.name);
    this.button.addEventListener("click", () => this.pick?.());
    this.more = Array.from({ length: columns }, () => h("td", { class: "row-value" }));
    this.element = h("tr", {}, h("th", { scope: "row", class: "row-label" }, this.bar, this.button), this.share, this.value, ...this.more);
  }

  show(row: RowData, largest: number): void {
    this.pick = row.pick;
    this.button.disabled = row.pick === null;
    setText(this.name, row.name);
    this.button.title = row.name.length > titleLength ? row.name.slice(0, titleLength) + "…" : row.name;
    this.bar.style.width = `${largest > 0 ? Math.max(0.5, (row.value / largest) * 100) : 0}%`;
    setText(this.share, row.share === null ? "" : percent(row.share));
    [row.value, ...row.more].forEach((n, i) => {
      const cell = i === 0 ? this.value : this.more[i - 1]!;
      setText(cell, short(n));
      cell.title = exact(n);
    });
  }
}

export class Rows {
  readonly element: HTMLTableElement;
  private readonly body = h("tbody");
  private readonly heads: HTMLElement[];
  private readonly head = h("th", { scope: "col", class: "row-label" });
  private views = new Map<string, RowView>();

  /** @param columns names of the columns of figures, the first one first */
  constructor(private readonly columns: string[]) {
    this.heads = columns.map((name) => h("th", { scope: "col", class: "row-value" }, name));
    const share = h("th", { scope: "col", class: "row-share" }, h("span", { class: "unseen" }, "Share of visitors"));
    this.element = h("table", { class: `rows columns-${columns.length}` },
      h("thead", {}, h("tr", {}, this.head, share, ...this.heads)), this.body);
    this.body.addEventListener("keydown", (event) => this.onKey(event));
  }

  name(label: string): void {
    setText(this.head, label);
  }

  show(rows: RowData[]): void {
    const focused = document.activeElement;
    const largest = rows.reduce((most, row) => Math.max(most, row.value), 0);
    const views = new Map<string, RowView>();
    for (const row of rows) {
      const view = this.views.get(row.key) ?? new RowView(this.columns.length - 1);
      view.show(row, largest);
      views.set(row.key, view);
    }
    const wanted = [...views.values()].map((view) => view.element);
    const present = [...this.body.children];
    if (wanted.length !== present.length || wanted.some((element, i) => element !== present[i])) {
      this.body.replaceChildren(...wanted);
      // Moving an element takes its focus away.
      if (focused instanceof HTMLElement && this.body.contains(focused)) focused.focus({ preventScroll: true });
    }
    this.views = views;
  }

  private onKey(event: KeyboardEvent): void {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined) return;
    const buttons = [...this.body.querySelectorAll<HTMLElement>("button:enabled")];
    const to = buttons[buttons.indexOf(document.activeElement as HTMLElement) + step];
    if (!to) return;
    event.preventDefault();
    to.focus();
  }
}

/** Grey stripes in the place of rows that are on their way. */
export function skeleton(count: number): HTMLElement {
  const widths = ["w5", "w3", "w4", "w2", "w3", "w1", "w2", "w1", "w1"];
  return h("div", { class: "skeleton", "aria-hidden": "true" },
    ...Array.from({ length: count }, (_, i) => h("div", { class: `skeleton-row ${widths[i % widths.length]}` })));
}
