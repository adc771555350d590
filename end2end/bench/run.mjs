// `node bench/run.mjs [NAME]`: bundles the driver, which shares its support with the journeys, and runs it.
import { build } from 'esbuild';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const folder = path.join(here, '..', 'test-results');
fs.mkdirSync(folder, { recursive: true });
const bundle = path.join(folder, `bench-${process.pid}.mjs`);
try {
  await build({
    entryPoints: [path.join(here, 'bench.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'error',
  });
  os.setPriority(0);
  const { main } = await import(pathToFileURL(bundle).href);
  process.exitCode = await main(process.argv[2]);
} finally {
  fs.rmSync(bundle, { force: true });
}
