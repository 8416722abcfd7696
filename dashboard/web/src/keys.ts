// The keys, and the list of them.
import { h, iconButton } from "./dom";
import * as icons from "./icons";
import { type Period } from "./state";

const periodKeys: Record<string, Period> = { d: "today", w: "7d", m: "30d", q: "3mo" };

const list: [string[], string][] = [
  [["d"], "Today"],
  [["w"], "7 days"],
  [["m"], "30 days"],
  [["q"], "3 months"],
  [["1", "…", "6"], "Put a figure on the chart"],
  [["/"], "Filter"],
  [["x"], "Remove all filters"],
  [["←", "→"], "Move along the chart and between tabs"],
  [["↑", "↓"], "Move in lists"],
  [["Esc"], "Close"],
  [["?"], "This list"],
];

export interface Keys {
  onPeriod: (period: Period) => void;
  onMetric: (position: number) => void;
  onSearch: () => void;
  onClear: () => void;
}

export function listenToKeys(keys: Keys): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.repeat) return;
    const target = event.target as HTMLElement;
    if (target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
    const period = Object.hasOwn(periodKeys, event.key) ? periodKeys[event.key] : undefined;
    if (period) keys.onPeriod(period);
    else if (event.key === "/") keys.onSearch();
    else if (event.key === "?") showKeys();
    else if (event.key === "x") keys.onClear();
    else if (/^[1-6]$/.test(event.key)) keys.onMetric(Number(event.key) - 1);
    else return;
    event.preventDefault();
  });
}

export function showKeys(): void {
  const dialog = h("dialog", { class: "keys", "aria-label": "Keys" },
    h("div", { class: "details-head" }, h("h2", {}, "Keys"), iconButton("Close", icons.close(), { on: { click: () => dialog.close() } })),
    h("dl", {}, ...list.flatMap(([names, what]) => [
      h("dt", {}, ...names.map((name) => (name === "…" ? name : h("kbd", {}, name)))),
      h("dd", {}, what),
    ])));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
}
