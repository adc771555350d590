// Runs every *.test.ts with Node's own runner: `node test.mjs [options of node --test]`.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
// Within the package, so that what is not bundled is found.
const outdir = mkdtempSync(join(here, 'node_modules', '.tests-'));
try {
  const tests = readdirSync(here).filter((name) => name.endsWith('.test.ts'));
  await build({
    absWorkingDir: here,
    entryPoints: tests,
    outdir,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    // Where a test is written, and not where it is run.
    define: { 'import.meta.dirname': JSON.stringify(here) },
    outExtension: { '.js': '.mjs' },
    sourcemap: 'inline',
    logLevel: 'warning',
  });
  const files = tests.map((name) => join(outdir, name.replace(/\.ts$/, '.mjs')));
  const { status } = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...process.argv.slice(2), ...files], {
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
} finally {
  rmSync(outdir, { recursive: true, force: true });
}
