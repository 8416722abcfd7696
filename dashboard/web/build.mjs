// Builds the dashboard's front end into dashboard/dist, which the Go package
// embeds: one script, one style sheet and the theme switch, each named after
// its content so that browsers may keep them for ever, and manifest.json to
// find them by.
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import path from "node:path";
import esbuild from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const dist = path.join(here, "..", "dist");

const entries = {
  "app.js": "src/main.ts",
  "app.css": "styles/app.css",
  // Runs before the first paint, so that a remembered theme does not flash.
  "theme.js": "src/theme-early.ts",
};

// uPlot's licence asks to travel with it.
const uplot = "/*! Contains uPlot, (c) Leon Sorokin, MIT: /assets/uplot-LICENSE.txt */";
const notice = { ".js": { js: uplot }, ".css": { css: uplot } };

export async function build({ minify = true } = {}) {
  await mkdir(dist, { recursive: true });
  for (const name of await readdir(dist)) {
    if (name !== "README") await rm(path.join(dist, name), { recursive: true });
  }
  const manifest = {};
  for (const [name, source] of Object.entries(entries)) {
    const result = await esbuild.build({
      absWorkingDir: here,
      entryPoints: [source],
      bundle: true,
      minify,
      write: false,
      format: "iife",
      target: ["es2022", "chrome111", "firefox114", "safari16.4"],
      charset: "utf8",
      legalComments: "inline",
      banner: name.startsWith("app.") ? notice[path.extname(name)] : {},
      logLevel: "warning",
    });
    const bytes = result.outputFiles[0].contents;
    const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 10);
    const [stem, ext] = name.split(".");
    manifest[name] = `${stem}-${hash}.${ext}`;
    await writeFile(path.join(dist, manifest[name]), bytes);
    console.log(`${manifest[name]}  ${bytes.length} bytes, ${gzipSync(bytes, { level: 9 }).length} gzipped`);
  }
  await cp(path.join(here, "favicon.svg"), path.join(dist, "favicon.svg"));
  await cp(path.join(here, "../../node_modules/uplot/LICENSE"), path.join(dist, "uplot-LICENSE.txt"));
  await writeFile(path.join(dist, "manifest.json"), JSON.stringify(manifest, null, 2) + "\n");
  return manifest;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await build();
