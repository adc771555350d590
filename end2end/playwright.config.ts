// Three workers unless FSA_WORKERS says otherwise, each with a server and a browser of its own: most of a journey is waiting.
// On a cluster it is one: volumes that are made for two at a time are late, which is told as what it is. What measures has the machine to itself (support/alone.ts). No second try: a journey that passes only sometimes is a failure.
import { defineConfig } from '@playwright/test';
import { CHROMIUM } from './support/chromium.ts';
import { CLUSTER, ONE_MACHINE, onCluster } from './support/cluster.ts';

const workers = Number(process.env['FSA_WORKERS'] || (onCluster ? 1 : 3));
if (!Number.isInteger(workers) || workers < 1) throw new Error(`FSA_WORKERS is ${process.env['FSA_WORKERS']}, not a number of workers: 1, 2, …`);

export default defineConfig({
  testDir: 'journeys',
  outputDir: 'test-results/artifacts',
  workers,
  // Tests of one file, too: none counts on what another has left.
  fullyParallel: true,
  retries: 0,
  forbidOnly: true,
  grepInvert: new RegExp(onCluster ? ONE_MACHINE.tag : CLUSTER.tag),
  // On a cluster, each start and stop is seconds more.
  timeout: onCluster ? 180_000 : 120_000,
  expect: { timeout: 20_000 },
  reporter: [['list'], ['json', { outputFile: process.env['FSA_JOURNEYS_REPORT'] ?? 'test-results/report.json' }]],
  use: {
    browserName: 'chromium',
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    timezoneId: 'UTC',
    trace: 'off',
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: CHROMIUM,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
