// Which panels the page has, and what their tabs say when they are empty.
import { type Child, h } from "./dom";
import { type PanelOptions, type Tab } from "./panel";

const tab = (name: string, dimension: Tab["dimension"], one: string, ...empty: Child[]): Tab =>
  ({ name, dimension, one, empty: empty.length > 0 ? empty : ["Nothing was counted in this period."] });

const campaigns: Tab = {
  ...tab("Campaigns", "visit:utm_campaign", "Campaign", "No campaigns in this period. Links with ", h("code", {}, "utm_campaign=name"), " in them show up here."),
  onlySet: true,
};

/** Shown only where the location data are fine enough to have them. */
export const regionTab: Tab = { ...tab("Regions", "visit:region", "Region"), onlySet: true };
export const cityTab: Tab = { ...tab("Cities", "visit:city", "City"), onlySet: true };

export type PanelPlan = Pick<PanelOptions, "id" | "name" | "tabs" | "rows" | "more">;

/** The panels, in the page's order. */
export function panelPlans(): PanelPlan[] {
  return [
    {
      id: "sources", name: "the sources", rows: 9,
      tabs: [tab("Sources", "visit:source", "Source"), tab("Channels", "visit:channel", "Channel"), campaigns],
    },
    {
      id: "pages", name: "the pages", rows: 9,
      tabs: [tab("Top pages", "event:page", "Page"), tab("Entry", "visit:entry_page", "Entry page"), tab("Exit", "visit:exit_page", "Exit page")],
    },
    {
      id: "locations", name: "the locations", rows: 7,
      tabs: [tab("Countries", "visit:country", "Country")],
    },
    {
      id: "devices", name: "the devices", rows: 7,
      tabs: [tab("Devices", "visit:device", "Device"), tab("Browsers", "visit:browser", "Browser"), tab("OS", "visit:os", "Operating system")],
    },
    {
      id: "events", name: "the events", rows: 9, more: [{ metric: "events", name: "Events" }],
      tabs: [tab("Events", "event:goal", "Event",
        "No events of your own in this period. Count one with ", h("code", {}, 'halfmask("Signup")'), " in a page’s script.")],
    },
  ];
}
