// A made-up Stats API: plausible figures, the same at every start, and sites
// that are awkward in every way a real one can be.

const now = () => new Date();
const dayMs = 86_400_000;

/** Small deterministic noise in [0, 1). */
function noise(...seed) {
  let x = 2166136261;
  for (const char of seed.join("|")) x = Math.imul(x ^ char.charCodeAt(0), 16777619);
  x ^= x >>> 13;
  x = Math.imul(x, 0x5bd1e995);
  return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
}

const long = "/" + "a-very-long-path-that-never-ends/".repeat(60) + "x".repeat(20);

const values = {
  "visit:source": ["Google", "Direct / None", "Hacker News", "GitHub", "DuckDuckGo", "Bing", "Reddit", "lobste.rs", "Mastodon", "news.example", "LinkedIn", "YouTube"],
  "visit:channel": ["Organic Search", "Direct", "Referral", "Organic Social", "Email", "Paid Search"],
  "visit:utm_campaign": ["autumn-launch", "newsletter-47", "black-friday"],
  "event:page": ["/", "/pricing", "/docs/getting-started", "/blog/half-is-enough", "/docs/install", "/about", "/docs/api/stats", "/changelog", "/blog/why-we-cut-addresses-in-half-before-anything-is-kept", "/contact", "/imprint", "/blog"],
  "visit:entry_page": ["/", "/blog/half-is-enough", "/docs/getting-started", "/pricing"],
  "visit:exit_page": ["/pricing", "/", "/docs/install", "/contact"],
  "visit:country": ["DE", "US", "FR", "GB", "NL", "IN", "CA", "BR", "JP", "AU", "(not set)"],
  "visit:region": ["DE-BE", "US-CA", "FR-IDF"],
  "visit:city": ["Berlin", "San Francisco", "Paris"],
  "visit:device": ["Desktop", "Mobile", "Tablet"],
  "visit:browser": ["Chrome", "Safari", "Firefox", "Edge", "Samsung Internet", "Opera"],
  "visit:os": ["Windows", "macOS", "iOS", "Android", "Linux", "Chrome OS"],
  "event:goal": ["Signup", "Download", "Outbound Link: Click", "Newsletter"],
};

const hostile = [
  '<img src=x onerror="document.body.remove()">', "</script><script>alert(1)</script>", long,
  "\u202Egnp.elif-ton", "مرحبا بالعالم — صفحة", "", "(not set)", "日本語のページ", "a\u0000b\tc\nd", "javascript:alert(1)", "%3Cb%3E", "👁 emoji of theirs",
];

const sites = {
  "example.com": { scale: 60 },
  "quiet.example": { scale: 0, only: 1 },
  "empty.example": { scale: 0 },
  "huge.example": { scale: 41_000_000 },
  "hostile.example": { scale: 40, hostile: true },
  "slow.example": { scale: 60, delayMs: 5000 },
  "broken.example": { scale: 60, broken: true },
  "out.example": { scale: 60, loggedOut: true },
  "places.example": { scale: 80, places: true },
  "a-rather-long-subdomain.of-an-even-longer-domain-name.example": { scale: 9 },
};

export const siteNames = Object.keys(sites);

/** Events that were added by hand while the server runs: POST /dev/visit?site=... */
export const added = new Map();

const iso = (date) => date.toISOString().slice(0, 10);
const days = { day: 1, "7d": 7, "30d": 30, "91d": 91, all: 91 };

function visitorsAt(site, label) {
  const s = sites[site];
  const hours = label.length > 10;
  const date = new Date(label.slice(0, 10) + "T00:00:00Z");
  const weekend = [0, 6].includes(date.getUTCDay()) ? 0.55 : 1;
  const hour = hours ? Number(label.slice(11, 13)) : 12;
  const wave = hours ? 0.08 + Math.max(0, Math.sin(((hour - 5) / 18) * Math.PI)) : 11;
  let n = Math.round(s.scale * wave * weekend * (0.7 + 0.6 * noise(site, label)));
  const at = hours ? `${iso(now())} ${String(now().getUTCHours()).padStart(2, "0")}:00:00` : iso(now());
  if (label === at) n += (s.only ?? 0) + (added.get(site) ?? 0);
  return n;
}

function metricsOf(site, visitors, wanted, seed, total) {
  const visits = Math.round(visitors * (1.12 + 0.1 * noise(seed, "v")));
  const pageviews = Math.round(visits * (1.8 + 0.7 * noise(seed, "p")));
  const some = visits > 0;
  const all = {
    visitors, visits: Math.max(visits, visitors), pageviews: Math.max(pageviews, visits),
    views_per_visit: some ? Math.round((pageviews / visits) * 100) / 100 : null,
    bounce_rate: some ? Math.round(38 + 24 * noise(seed, "b")) : null,
    visit_duration: some ? Math.round(50 + 110 * noise(seed, "d")) : null,
    events: Math.max(pageviews, visits) + Math.round(visits / 9),
    percentage: total > 0 ? Math.round((visitors / total) * 1000) / 10 : null,
  };
  return wanted.map((m) => all[m] ?? 0);
}

function labels(first, count, hours) {
  return Array.from({ length: hours ? 24 : count }, (_, i) => hours
    ? `${iso(first)} ${String(i).padStart(2, "0")}:00:00`
    : iso(new Date(first.getTime() + i * dayMs)));
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

export function siteOf(name) {
  return sites[name];
}

export function live(site) {
  return sites[site].scale === 0 ? (sites[site].only ?? 0) + (added.get(site) ?? 0) : Math.round(sites[site].scale / 9) + (added.get(site) ?? 0);
}

/** Answers a query as POST /api/v2/query does. */
export function answer(q) {
  const count = days[q.date_range];
  const today = new Date(iso(now()) + "T00:00:00Z");
  const first = new Date(today.getTime() - (count - 1) * dayMs);
  const before = new Date(first.getTime() - count * dayMs);
  const kept = q.date_range !== "91d";
  const hours = q.dimensions?.[0] === "time:hour";
  const filters = (q.filters ?? []).filter(([op]) => op === "is");
  const share = filters.length > 0 ? 0.31 : 1;
  const seed = JSON.stringify(filters);
  const at = `${iso(now())} ${now().toISOString().slice(11, 13)}:00:00`;
  const visitors = (label) => Math.round(visitorsAt(q.site_id, label) * share * (share < 1 ? 0.6 + 0.8 * noise(seed, label) : 1));
  const inDays = (start) => labels(start, count, count === 1);
  const total = sum(inDays(first).filter((l) => l.length === 10 || l <= at).map(visitors));
  const out = {
    results: [], meta: {},
    query: {
      site_id: q.site_id, metrics: q.metrics,
      date_range: [`${iso(first)}T00:00:00+00:00`, `${iso(today)}T23:59:59+00:00`],
    },
  };
  if (q.include?.compare) {
    const end = new Date(before.getTime() + (count - 1) * dayMs);
    const cut = q.dimensions ? "23:59:59" : now().toISOString().slice(11, 19);
    out.query.comparison_date_range = [`${iso(before)}T00:00:00+00:00`, `${iso(end)}T${cut}+00:00`];
    if (!kept) out.meta.comparison_skip_reason = "out_of_range";
  }
  const nothing = q.metrics.map(() => null);
  if (!q.dimensions) {
    const then = sum(inDays(before).filter((l) => l.length === 10 || l.slice(11) <= at.slice(11)).map(visitors));
    const row = { metrics: metricsOf(q.site_id, total, q.metrics, `now${count}${seed}`, total), dimensions: [] };
    if (q.include?.compare) row.comparison = { metrics: kept ? metricsOf(q.site_id, then, q.metrics, `then${count}`, then) : nothing };
    out.results = [row];
  } else if (q.dimensions[0].startsWith("time:")) {
    const was = labels(before, count, hours);
    out.results = labels(first, count, hours).map((label, i) => {
      const future = hours && label > at;
      return {
        metrics: future ? nothing : metricsOf(q.site_id, visitors(label), q.metrics, label + seed, 1),
        dimensions: [label],
        comparison: { metrics: kept ? metricsOf(q.site_id, visitors(was[i]), q.metrics, was[i], 1) : nothing },
      };
    });
  } else {
    out.results = breakdown(q, total);
  }
  return out;
}

function breakdown(q, total) {
  const [dimension] = q.dimensions;
  const site = sites[q.site_id];
  if (total === 0) return [];
  let all = site.hostile ? hostile : values[dimension] ?? [];
  if (!site.places && (dimension === "visit:region" || dimension === "visit:city")) all = [];
  if (site.only) all = all.slice(0, 1);
  for (const [op, of, wanted] of q.filters ?? []) {
    if (of !== dimension) continue;
    if (op === "is") all = all.filter((v) => wanted.includes(v));
    if (op === "is_not") all = all.filter((v) => !wanted.includes(v));
    if (op === "contains") all = all.filter((v) => wanted.some((w) => v.toLowerCase().includes(w.toLowerCase())));
  }
  const [by, direction] = q.order_by?.[0] ?? [q.metrics[0], "desc"];
  const column = q.metrics.indexOf(by);
  const rows = all.map((value, i) => {
    const visitors = Math.max(1, Math.round((total * 0.42) / (i + 1) ** 1.15));
    return { metrics: metricsOf(q.site_id, visitors, q.metrics, dimension + value, total), dimensions: [value] };
  });
  rows.sort((a, b) => (direction === "desc" ? 1 : -1) * ((b.metrics[column] ?? 0) - (a.metrics[column] ?? 0)));
  const { limit = 10_000, offset = 0 } = q.pagination ?? {};
  return rows.slice(offset, offset + limit);
}
