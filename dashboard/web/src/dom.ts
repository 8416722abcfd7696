// Small makers of elements. Text only ever becomes a text node: what visitors
// sent is hostile, and there is no way through here to markup.

export type Child = Node | string | number | null | undefined | false;

type Handlers = { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };

export interface Attributes {
  class?: string;
  on?: Handlers;
  [attribute: string]: string | number | boolean | null | undefined | Handlers;
}

function apply(element: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on" || value === undefined || value === null || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const [type, handler] of Object.entries(attributes.on ?? {})) {
    element.addEventListener(type, handler as EventListener);
  }
  append(element, children);
}

function append(parent: Element, children: Child[]): void {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) {
      parent.append(typeof child === "number" ? String(child) : child);
    }
  }
}

/** Makes an element. Attributes that are false, null or undefined are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, attributes: Attributes = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  apply(element, attributes, children);
  return element;
}

/** Puts new children in the place of the old ones. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}

/** Sets text only where it differs, so that a refresh disturbs neither selection nor screen readers. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or removes an attribute, again only where it differs. */
export function setAttribute(element: Element, name: string, value: string | null): void {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const svgNS = "http://www.w3.org/2000/svg";

export function svg(tag: string, attributes: Record<string, string | number>, ...children: Node[]): SVGElement {
  const element = document.createElementNS(svgNS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** A text that came from outside: isolated, so that its direction cannot reorder its neighbours. */
export function outside(text: string): HTMLElement {
  return h("bdi", {}, text);
}

let ids = 0;

/** An id for tying elements together. */
export function uniqueId(prefix: string): string {
  return `${prefix}-${++ids}`;
}

/** A button that is a drawing needs a name in words. */
export function iconButton(name: string, icon: Node, attributes: Attributes = {}): HTMLButtonElement {
  return h("button", { type: "button", "aria-label": name, title: name, ...attributes, class: `icon-button ${attributes.class ?? ""}`.trim() }, icon);
}
