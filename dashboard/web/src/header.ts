// The bar across the top: which site, who is there now, which period, who is reading.
import { fill, h, iconButton, outside, setText } from "./dom";
import { chevron, half, mark, moon, person, sun } from "./icons";
import { exact, short } from "./format";
import { arrowKeys, popup } from "./popup";
import { periodNames, periods, serialize, type Period, type State } from "./state";
import { showTheme, storedTheme, storeTheme, type Theme } from "./theme";
import { type Boot } from "./boot";

export interface HeaderOptions {
  boot: Boot;
  onPeriod: (period: Period) => void;
  onTheme: () => void;
  siteURL: (domain: string) => string;
}

export class Header {
  readonly element: HTMLElement;
  private readonly live = h("span", { class: "live-text" });
  private readonly liveBox: HTMLElement;
  private readonly links = new Map<Period, HTMLAnchorElement>();

  constructor(private readonly options: HeaderOptions) {
    this.liveBox = this.makeLive();
    this.element = h("header", { class: "bar" },
      h("div", { class: "bar-site" }, h("span", { class: "home" }, mark(22)), ...this.makeSites(), this.liveBox),
      this.makePeriods(),
      h("div", { class: "bar-end" }, this.makeTheme(), ...this.makeAccount()));
  }

  /** Shows how many are there now; null where it is not known. */
  showLive(count: number | null): void {
    this.liveBox.hidden = count === null;
    if (count === null) return;
    setText(this.live, `${short(count)} now`);
    this.liveBox.classList.toggle("nobody", count === 0);
    this.liveBox.title = `${exact(count)} ${count === 1 ? "visitor" : "visitors"} in the last five minutes`;
  }

  update(state: State): void {
    for (const [period, link] of this.links) {
      link.href = serialize({ ...state, period });
      if (period === state.period) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  private makeLive(): HTMLElement {
    return h("span", { class: "live", hidden: true }, h("span", { class: "live-dot", "aria-hidden": "true" }), this.live);
  }

  private makeSites(): HTMLElement[] {
    const { boot, siteURL } = this.options;
    if (boot.sites.length < 2) return [h("h1", { class: "site-name" }, outside(boot.site))];
    const button = h("button", { type: "button", class: "site-name switcher", title: "Switch site" }, outside(boot.site), chevron());
    const list = h("ul", {}, ...boot.sites.map((site) => h("li", {},
      h("a", { href: siteURL(site.domain), "aria-current": site.domain === boot.site ? "page" : null }, outside(site.domain)))));
    const search = boot.sites.length > 10 ? siteSearch(list) : null;
    const box = popup(button, "menu", search, list);
    arrowKeys(box, "input, li:not([hidden]) a");
    return [h("h1", { class: "site-heading" }, button), box];
  }

  private makePeriods(): HTMLElement {
    const nav = h("nav", { class: "segments periods", "aria-label": "Period" });
    for (const period of periods) {
      const link = h("a", {
        href: "?",
        on: {
          click: (event) => {
            if (event.ctrlKey || event.metaKey || event.shiftKey) return;
            event.preventDefault();
            this.options.onPeriod(period);
          },
        },
      }, periodNames[period]);
      this.links.set(period, link);
      nav.append(link);
    }
    arrowKeys(nav, "a", true);
    return nav;
  }

  private makeTheme(): HTMLElement {
    const looks: Record<Theme, [string, () => Node, Theme]> = {
      system: ["Colours as the system says; switch to light", half, "light"],
      light: ["Light colours; switch to dark", sun, "dark"],
      dark: ["Dark colours; switch to the system's", moon, "system"],
    };
    const button = iconButton("", half());
    const show = () => {
      const [name, icon] = looks[storedTheme()];
      fill(button, icon());
      button.setAttribute("aria-label", name);
      button.title = name;
    };
    button.addEventListener("click", () => {
      const next = looks[storedTheme()][2];
      storeTheme(next);
      showTheme(next);
      show();
      this.options.onTheme();
    });
    show();
    return button;
  }

  private makeAccount(): HTMLElement[] {
    const button = iconButton("Account", person());
    const box = popup(button, "menu",
      this.options.boot.user !== "" && h("p", { class: "menu-head" }, "Logged in as ", outside(this.options.boot.user)),
      h("ul", {},
        h("li", {}, h("a", { href: "/account" }, "Account")),
        h("li", {}, h("form", { method: "post", action: "/logout" }, h("button", { type: "submit" }, "Log out")))));
    arrowKeys(box, "a, button");
    return [button, box];
  }
}

function siteSearch(list: HTMLElement): HTMLInputElement {
  return h("input", {
    type: "search", placeholder: "Find a site", "aria-label": "Find a site", autocomplete: "off", spellcheck: "false",
    on: {
      input: (event) => {
        const wanted = (event.target as HTMLInputElement).value.toLowerCase();
        for (const item of list.children) (item as HTMLElement).hidden = !(item.textContent ?? "").toLowerCase().includes(wanted);
      },
    },
  });
}
