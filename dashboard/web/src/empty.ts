// What stands in the place of the figures before the first visit: the line to
// paste, and the promise that the page is watching.
import { type Boot } from "./boot";
import { h, setText } from "./dom";
import { mark } from "./icons";

export function snippet(boot: Boot): string {
  const quoted = (text: string) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
  return `<script defer data-site="${quoted(boot.site)}" src="${quoted(boot.publicUrl)}/js/hm.js"></script>`;
}

export function emptyState(boot: Boot): HTMLElement {
  const line = snippet(boot);
  const copy = h("button", { type: "button", class: "primary" }, "Copy");
  const code = h("code", { tabindex: "0" }, line);
  const said = h("span", { class: "unseen", role: "status" });
  copy.addEventListener("click", () => void copyText(line, code).then((copied) => {
    setText(copy, copied ? "Copied" : "Press Ctrl+C");
    setText(said, copied ? "Copied" : "The line is selected: copy it with your keyboard");
    window.setTimeout(() => setText(copy, "Copy"), 2000);
  }));
  return h("section", { class: "empty-state", "aria-label": "No visits yet" },
    mark(40),
    h("h2", {}, "No visits yet"),
    h("p", {}, "Paste this line into the head of every page of ", h("strong", {}, h("bdi", {}, boot.site)), "."),
    h("div", { class: "snippet" }, code, copy, said),
    h("p", { class: "hint" }, "Then open one of them. The first visit appears here by itself, within two seconds. Visits from localhost, and from browsers that ask not to be tracked, are not counted."));
}

async function copyText(text: string, shown: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain HTTP has no clipboard; the reader's own keys always work.
    const selection = getSelection();
    selection?.selectAllChildren(shown);
    return false;
  }
}
