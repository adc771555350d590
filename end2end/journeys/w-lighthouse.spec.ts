// Lighthouse on the pages that are seen most: how fast they are shown, whether everybody can use them, and what browsers
// would object to. It measures; what it measured is printed. The best of three counts for the speed, since the machine
// that it runs on does other things as well.
import { type BrowserContext, chromium } from '@playwright/test';
import lighthouse, { desktopConfig } from 'lighthouse';
import { ALONE } from '../support/alone.ts';
import { ONE_MACHINE } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { until } from '../support/until.ts';
import { freePort } from '../support/server.ts';

const CATEGORIES = ['performance', 'accessibility', 'best-practices'] as const;
const LEAST = { performance: 0.95, accessibility: 1, 'best-practices': 0.95 } as const;
const TRIES = 3;

type Scores = Record<(typeof CATEGORIES)[number], number>;

test.describe.configure({ timeout: 300_000 });

// On a cluster the pages are the same, and the machine is busier.
test('sign-in, projects and workspace pass Lighthouse', { ...ONE_MACHINE, ...ALONE }, async ({ server, project }, info) => {
  // A browser of its own, whose debugging port Lighthouse drives, with a session from a link.
  const port = await freePort();
  const { executablePath, args } = info.project.use.launchOptions!;
  const context: BrowserContext = await chromium.launchPersistentContext(info.outputPath('profile'), {
    executablePath: executablePath!,
    args: [...args!, `--remote-debugging-port=${port}`],
  });
  try {
    const audit = async (path: string): Promise<{ scores: Scores; faults: string[]; metrics: string }> => {
      const result = await lighthouse(
        `${server.origin}${path}`,
        { port, output: 'json', logLevel: 'error', onlyCategories: [...CATEGORIES], disableStorageReset: true },
        desktopConfig,
      );
      const { categories, audits, runtimeError } = result!.lhr;
      expect(runtimeError, `${path} was measured`).toBeUndefined();
      const scores = Object.fromEntries(CATEGORIES.map((name) => [name, categories[name]!.score ?? 0])) as Scores;
      const of = (name: string) => audits[name]?.displayValue?.replaceAll(' ', ' ') ?? '?';
      const metrics = `FCP ${of('first-contentful-paint')}, LCP ${of('largest-contentful-paint')}, TBT ${of('total-blocking-time')}, CLS ${of('cumulative-layout-shift')}, SI ${of('speed-index')}`;
      const faults = ['accessibility', 'best-practices'].flatMap((name) =>
        categories[name]!.auditRefs.filter(({ id, weight }) => weight > 0 && (audits[id]?.score ?? 1) < 1).map(
          ({ id }) => `${id}: ${audits[id]!.title} ${JSON.stringify((audits[id]!.details as { items?: unknown[] } | undefined)?.items ?? []).slice(0, 400)}`,
        ),
      );
      return { scores, faults, metrics };
    };
    const best = async (name: string, path: string) => {
      let top: Awaited<ReturnType<typeof audit>> | undefined;
      const speeds: number[] = [];
      for (let at = 0; at < TRIES; at += 1) {
        const now = await audit(path);
        speeds.push(Math.round(now.scores.performance * 100));
        if (!top || now.scores.performance > top.scores.performance) top = now;
        if (top.scores.performance >= LEAST.performance) break;
      }
      const { scores, faults, metrics } = top!;
      console.log(
        `Lighthouse, ${name}: performance ${Math.round(scores.performance * 100)} (of ${speeds.join(', ')}), accessibility ${Math.round(scores.accessibility * 100)}, best practices ${Math.round(scores['best-practices'] * 100)}; ${metrics}`,
      );
      for (const category of CATEGORIES) {
        expect.soft(scores[category], `${name}: ${category}; ${metrics}; ${faults.join('\n')}`).toBeGreaterThanOrEqual(LEAST[category]);
      }
    };
    await best('sign-in', '/sign-in');
    const page = context.pages()[0] ?? (await context.newPage());
    await page.goto(await server.newSignInLink());
    await until('the session', () => page.url().endsWith(`:${server.port}/`), 15_000);
    await best('projects', '/');
    await best('workspace', `/projects/${project.id}`);
  } finally {
    await context.close();
  }
});
