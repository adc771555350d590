// Bundles the terminal: `node build.mjs OUTDIR` writes terminal.js, terminal.css, log.js, doctor.js, elements.js, github.js, activity.js and what they load
// later, as ES modules without source maps. `--measure` prints what each weighs, compressed.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync } from 'node:zlib';
import { build } from 'esbuild';

const outdir = process.argv.slice(2).find((argument) => !argument.startsWith('--')) ?? 'dist';
const { metafile } = await build({
  absWorkingDir: fileURLToPath(new URL('.', import.meta.url)),
  entryPoints: ['terminal.ts', 'terminal.css', 'log.ts', 'doctor.ts', 'elements.ts', 'github.ts', 'activity.ts'],
  outdir,
  bundle: true,
  splitting: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  charset: 'utf8',
  chunkNames: 'terminal-[name]-[hash]',
  legalComments: 'eof',
  metafile: true,
  logLevel: 'warning',
});

if (process.argv.includes('--measure')) {
  for (const path of Object.keys(metafile.outputs)) {
    const bytes = readFileSync(new URL(path, import.meta.url));
    const brotli = brotliCompressSync(bytes).length;
    console.log(`${basename(path)}  ${bytes.length} bytes, ${brotli} with brotli`);
  }
}
