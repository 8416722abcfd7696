// Serves the front end without the rest of the house: the shell as the Go
// package writes it, the built assets and made-up figures.
//
//   node dashboard/web/dev.mjs [--port 8090] [--no-build]
//
// Every site of dev/fixtures.mjs has its page; /dev/login, /dev/setup and
// /dev/account show the small pages; POST /dev/visit?site=DOMAIN adds a visit.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";
import { build } from "./build.mjs";
import { added, answer, live, siteNames, siteOf } from "./dev/fixtures.mjs";
import { smallPages } from "./dev/small.mjs";

const dist = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "dist");
const option = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1];
};
const types = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain", ".json": "application/json" };
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

if (!process.argv.includes("--no-build")) await build({ minify: false });
const manifest = JSON.parse(await readFile(path.join(dist, "manifest.json"), "utf8"));

function page(title, main, boot) {
  const data = boot ? `<script type="application/json" id="boot">${JSON.stringify(boot).replaceAll("<", "\\u003c")}</script>` : "";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="/assets/favicon.svg">
<link rel="stylesheet" href="/assets/${manifest["app.css"]}">
<script src="/assets/${manifest["theme.js"]}"></script>
<script src="/assets/${manifest["app.js"]}" defer></script>
</head>
<body>${main}${data}</body>
</html>`;
}

function shell(site) {
  return page(site, '<div id="app"></div>', {
    site,
    sites: siteNames.map((domain) => ({ domain, timezone: "UTC" })),
    user: "ada@example.com", publicUrl: "https://stats.example.com", version: "0.1.0-dev",
  });
}

async function body(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text;
}

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
let asked = 0;

async function api(request, url) {
  asked++;
  const q = url.pathname === "/api/v2/query" ? JSON.parse(await body(request)) : null;
  const name = q?.site_id ?? url.searchParams.get("site_id");
  const site = siteOf(name);
  if (!site || site.loggedOut) return [401, { error: "Log in, or give a valid token." }];
  if (site.broken && q?.dimensions) return [500, { error: "" }];
  await wait(site.delayMs ?? 5);
  return [200, q ? answer(q) : live(name)];
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://localhost");
  const send = (status, type, content) => {
    response.writeHead(status, { "Content-Type": type, "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store" });
    response.end(content);
  };
  try {
    if (url.pathname.startsWith("/assets/")) {
      const name = path.basename(url.pathname);
      return send(200, types[path.extname(name)] ?? "application/octet-stream", await readFile(path.join(dist, name)));
    }
    if (url.pathname.startsWith("/api/")) {
      const [status, value] = await api(request, url);
      return send(status, "application/json", JSON.stringify(value));
    }
    if (url.pathname === "/dev/visit") {
      const site = url.searchParams.get("site");
      added.set(site, (added.get(site) ?? 0) + 1);
      return send(204, "text/plain", "");
    }
    if (url.pathname === "/dev/asked") return send(200, "text/plain", String(asked));
    const small = smallPages[url.pathname.replace(/^\/dev\//, "")];
    if (small) return send(200, "text/html; charset=utf-8", page(small.title, small.main));
    const domain = decodeURIComponent(url.pathname.slice(1)) || siteNames[0];
    if (siteOf(domain)) return send(200, "text/html; charset=utf-8", shell(domain));
    return send(404, "text/plain", "There is no such page.");
  } catch (cause) {
    return send(cause.code === "ENOENT" ? 404 : 500, "text/plain", String(cause));
  }
});

server.listen(Number(option("port", "8090")), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}/`);
});
