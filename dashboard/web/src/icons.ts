// The few drawings of the page, in the current text colour.
import { svg } from "./dom";

function icon(...shapes: SVGElement[]): SVGElement {
  return svg("svg", {
    viewBox: "0 0 16 16", width: 16, height: 16, fill: "none", stroke: "currentColor",
    "stroke-width": 1.5, "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true", class: "icon",
  }, ...shapes);
}

const path = (d: string) => svg("path", { d });

/** The mark: a circle, its right half solid and its left half an outline. */
export function mark(size: number): SVGElement {
  return svg("svg", { viewBox: "0 0 32 32", width: size, height: size, "aria-hidden": "true", class: "mark" },
    svg("circle", { cx: 16, cy: 16, r: 13, fill: "none", stroke: "currentColor", "stroke-width": 3 }),
    svg("path", { d: "M16 3a13 13 0 0 1 0 26z", fill: "currentColor" }));
}

export const close = () => icon(path("M4 4l8 8M12 4l-8 8"));
export const chevron = () => icon(path("M4.5 6.5L8 10l3.5-3.5"));
export const table = () => icon(svg("rect", { x: 2, y: 3, width: 12, height: 10, rx: 1.5 }), path("M2 6.5h12M6 6.5V13"));
export const line = () => icon(path("M2 11.5l4-4.5 3 2.5 5-6"));
export const search = () => icon(svg("circle", { cx: 7, cy: 7, r: 4 }), path("M10 10l3.5 3.5"));
export const person = () => icon(svg("circle", { cx: 8, cy: 5.5, r: 2.5 }), path("M3 13.5c.6-2.6 2.4-4 5-4s4.4 1.4 5 4"));
export const sun = () => icon(svg("circle", { cx: 8, cy: 8, r: 2.75 }),
  path("M8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M12.6 3.4l-1.1 1.1M4.5 11.5l-1.1 1.1"));
export const moon = () => icon(path("M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8z"));
export const half = () => icon(svg("circle", { cx: 8, cy: 8, r: 5.5 }), svg("path", { d: "M8 2.5a5.5 5.5 0 0 1 0 11z", fill: "currentColor" }));
