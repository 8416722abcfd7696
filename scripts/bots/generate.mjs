// Writes the patterns of crawler-user-agents for ingest/enrich to compile in,
// and its sample user agents for the test that all of them are recognised.
import { readFileSync, writeFileSync } from "node:fs";

const here = (path) => new URL(path, import.meta.url);
const robots = JSON.parse(readFileSync(here("node_modules/crawler-user-agents/crawler-user-agents.json"), "utf8"));

const lines = (list) => [...new Set(list)].join("\n") + "\n";
const samples = robots.flatMap((robot) => robot.instances ?? []);
if (samples.some((s) => /[\r\n]/.test(s))) throw new Error("a sample spans lines: the test's file needs another form");

writeFileSync(here("../../ingest/enrich/bots.txt"), lines(robots.map((robot) => robot.pattern)));
writeFileSync(here("../../ingest/enrich/testdata/bots.txt"), lines(samples.filter((s) => s.trim() !== "")));
console.log(`${robots.length} patterns, ${samples.length} samples`);
