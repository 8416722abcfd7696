// Builds the script that sites embed and refuses to let it grow past what the
// project promises. Run by `npm run build`.
import { build } from 'esbuild'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const limit = 1024 // bytes, gzipped: "under 1 KB"
const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const out = here('dist/hm.js')

await build({
  entryPoints: [here('src/hm.ts')],
  outfile: out,
  bundle: true,
  format: 'iife',
  minify: true,
  target: 'es2020',
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
  tsconfigRaw: '{}', // or esbuild spends bytes on "use strict"
})

const script = readFileSync(out)
const size = gzipSync(script, { level: 9 }).length
console.log(`collector/tracker/dist/hm.js: ${script.length} bytes, ${size} gzipped`)
if (size > limit) {
  console.error(`hm.js is ${size} bytes gzipped, more than the ${limit} that are promised: make it smaller`)
  process.exit(1)
}
