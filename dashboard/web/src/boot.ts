// What the server wrote into the page before any question was asked.

export interface Site {
  domain: string;
  timezone: string;
}

export interface Boot {
  site: string;
  sites: Site[];
  user: string;
  /** Where the collector answers, for the line to paste; without a slash at its end. */
  publicUrl: string;
  version: string;
}

function text(value: unknown): string {
  if (typeof value === "string") return value;
  // {"domain": ...} and {"name": ...} are taken as well as the bare name.
  if (typeof value === "object" && value !== null) {
    if ("domain" in value) return text(value.domain);
    if ("name" in value) return text(value.name);
  }
  return "";
}

export function readBoot(): Boot {
  const raw: unknown = JSON.parse(document.getElementById("boot")?.textContent ?? "{}");
  const data = (typeof raw === "object" && raw !== null ? raw : {}) as Record<string, unknown>;
  const list = Array.isArray(data.sites) ? (data.sites as Record<string, unknown>[]) : [];
  const sites = list.map((s) => ({ domain: text(s.domain), timezone: text(s.timezone) || "UTC" }));
  return {
    site: text(data.site) || (sites[0]?.domain ?? ""),
    sites,
    user: text(data.user),
    publicUrl: text(data.publicUrl).replace(/\/+$/, ""),
    version: text(data.version),
  };
}

/** The zone of the site on show. */
export function zoneOf(boot: Boot): string {
  return boot.sites.find((s) => s.domain === boot.site)?.timezone ?? "UTC";
}
