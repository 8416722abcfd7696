// Things that open over the page and close by themselves: menus and
// definitions. The browser's popovers bring Escape, clicking beside them and
// giving the focus back.
import { h, type Child } from "./dom";

const gap = 4;
const edge = 8;

function place(popup: HTMLElement, anchor: HTMLElement): void {
  const at = anchor.getBoundingClientRect();
  const width = popup.offsetWidth;
  const left = Math.max(edge, Math.min(at.left, document.documentElement.clientWidth - width - edge));
  const below = at.bottom + gap;
  const fitsBelow = below + popup.offsetHeight + edge <= window.innerHeight || at.top < popup.offsetHeight + edge;
  popup.style.left = `${left + window.scrollX}px`;
  popup.style.top = `${(fitsBelow ? below : at.top - gap - popup.offsetHeight) + window.scrollY}px`;
}

/** Makes a button open a popup with this content; returns both, to be put side by side. */
export function popup(button: HTMLButtonElement, className: string, ...content: Child[]): HTMLElement {
  const box = h("div", { class: `popup ${className}`, popover: "auto" }, ...content);
  button.setAttribute("aria-expanded", "false");
  // Telling the browser which button it is keeps a second press from closing the popup and opening it again.
  button.popoverTargetElement = box;
  button.popoverTargetAction = "toggle";
  box.addEventListener("toggle", (event) => {
    const open = (event as ToggleEvent).newState === "open";
    button.setAttribute("aria-expanded", String(open));
    if (open) {
      place(box, button);
      box.querySelector<HTMLElement>("[aria-current], a, input")?.focus();
    }
  });
  return box;
}

/** Lets the up and down arrows, Home and End move between the items of a list. */
export function arrowKeys(list: HTMLElement, selector: string, horizontal = false): void {
  const [back, on] = horizontal ? ["ArrowLeft", "ArrowRight"] : ["ArrowUp", "ArrowDown"];
  list.addEventListener("keydown", (event) => {
    const items = [...list.querySelectorAll<HTMLElement>(selector)];
    const at = items.indexOf(document.activeElement as HTMLElement);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { [back!]: at - 1, [on!]: at + 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    items[Math.max(0, Math.min(items.length - 1, to))]!.focus();
  });
}
