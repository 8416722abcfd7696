// What dimensions are called, and what their values are called.
import { type Dimension, type FilterKey } from "./state";

export const notSet = "(not set)";

/** The name of a dimension in a filter chip. */
export const dimensionNames: Record<FilterKey, string> = {
  page: "Page",
  entry_page: "Entry page",
  exit_page: "Exit page",
  hostname: "Host name",
  source: "Source",
  channel: "Channel",
  referrer: "Referrer",
  utm_source: "UTM source",
  utm_medium: "UTM medium",
  utm_campaign: "Campaign",
  utm_content: "UTM content",
  utm_term: "UTM term",
  country: "Country",
  region: "Region",
  city: "City",
  device: "Device",
  browser: "Browser",
  browser_version: "Browser version",
  os: "Operating system",
  os_version: "OS version",
  event: "Event",
};

let regions: Intl.DisplayNames | undefined;

/** The reader's name of a country, or its code where there is none. */
export function countryName(code: string): string {
  if (!/^[A-Z]{2}$/.test(code)) return code;
  try {
    regions ??= new Intl.DisplayNames(undefined, { type: "region", fallback: "code" });
    return regions.of(code) ?? code;
  } catch {
    return code;
  }
}

/** Two-letter codes of countries whose name in the reader's language contains a text. */
export function countriesNamed(part: string, limit: number): string[] {
  const wanted = part.toLocaleLowerCase();
  const found: string[] = [];
  for (let i = 0; i < 676 && found.length < limit; i++) {
    const code = String.fromCharCode(65 + Math.floor(i / 26), 65 + (i % 26));
    const name = countryName(code);
    // Codes that no country has come back as themselves.
    if (name !== code && !retired.has(code) && name.toLocaleLowerCase().includes(wanted)) found.push(code);
  }
  return found;
}

// Codes that Intl still names although they stand for no country of today, or
// are another spelling of one that it names too.
const retired = new Set(["AN", "BU", "CS", "DD", "DY", "EU", "EZ", "FX", "HV", "NH", "NT", "QO", "RH", "SU", "TP", "UK", "UN", "VD", "XA", "XB", "YD", "YU", "ZR", "ZZ"]);

// Control characters, and those that turn the direction of writing round: a
// path must not be able to look like another.
const unseen = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** How a value is shown to people. */
export function valueName(dimension: Dimension, value: string): string {
  return named(dimension, value).replace(unseen, "\ufffd");
}

function named(dimension: Dimension, value: string): string {
  if (value === notSet || value === "") return dimension === "visit:source" ? "Direct / None" : "Unknown";
  if (dimension === "visit:country") return countryName(value);
  if (dimension === "visit:region") {
    const [, country, region] = /^([A-Z]{2})-(.+)$/.exec(value) ?? [];
    return country && region ? `${region}, ${countryName(country)}` : value;
  }
  return value;
}
