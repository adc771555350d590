// One worker, one browser, no second try: a journey that passes only sometimes is a failure.
import { defineConfig } from '@playwright/test';
import { CLUSTER, ONE_MACHINE, onCluster } from './support/cluster.ts';

export default defineConfig({
  testDir: 'journeys',
  outputDir: 'test-results/artifacts',
  workers: 1,
  fullyParallel: false,
  retries: 0,
  forbidOnly: true,
  grepInvert: new RegExp(onCluster ? ONE_MACHINE.tag : CLUSTER.tag),
  timeout: 90_000,
  expect: { timeout: 15_000 },
  reporter: [['list'], ['json', { outputFile: process.env['FSA_JOURNEYS_REPORT'] ?? 'test-results/report.json' }]],
  use: {
    browserName: 'chromium',
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    timezoneId: 'UTC',
    trace: 'off',
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: process.env['FSA_CHROMIUM'] ?? '/usr/bin/chromium',
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
