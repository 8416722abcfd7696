// The chips of what is filtered by, and the box to filter by more.
import { fill, h, iconButton, outside } from "./dom";
import { dimensionNames, valueName } from "./dimensions";
import * as icons from "./icons";
import { filterDimensions, type Filter } from "./state";
import { FilterSearch, type SearchOptions } from "./search";

export interface FiltersOptions extends SearchOptions {
  onRemove: (filter: Filter) => void;
  onClear: () => void;
}

export class Filters {
  readonly element: HTMLElement;
  private readonly chips = h("ul", { class: "chips", "aria-label": "Filters" });
  private readonly search: FilterSearch;

  constructor(private readonly options: FiltersOptions) {
    this.search = new FilterSearch(options);
    this.element = h("div", { class: "filters" }, this.search.element, this.chips);
  }

  update(filters: Filter[]): void {
    const chips = filters.map((filter) => this.chip(filter));
    const clear = filters.length > 1
      && h("li", {}, h("button", { type: "button", class: "quiet", on: { click: () => this.options.onClear() } }, "Clear all"));
    fill(this.chips, ...chips, clear);
  }

  focusSearch(): void {
    this.search.focus();
  }

  private chip(filter: Filter): HTMLElement {
    const name = dimensionNames[filter.key];
    const values = filter.values.map((value) => valueName(filterDimensions[filter.key], value));
    const words: (Node | string)[] = [];
    values.forEach((value, i) => {
      if (i > 0) words.push(" or ");
      words.push(h("strong", {}, outside(value)));
    });
    const text = `${name} ${filter.op} ${values.join(" or ")}`;
    return h("li", { class: "chip" },
      h("span", { class: "chip-text", title: text.slice(0, 300) }, `${name} ${filter.op} `, ...words),
      iconButton(`Remove the filter ${text.slice(0, 80)}`, icons.close(), { on: { click: () => this.options.onRemove(filter) } }));
  }
}
