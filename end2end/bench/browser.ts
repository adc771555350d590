// A browser that is signed in, for what is measured in pages.
import { type Page, chromium } from '@playwright/test';
import type { Server } from '../support/server.ts';
import { CHROMIUM } from '../support/chromium.ts';

export async function inBrowser<T>(server: Server, work: (page: Page) => Promise<T>): Promise<T> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  try {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    await page.goto(await server.signInLink());
    await page.waitForURL((url) => !url.pathname.startsWith('/sign-in'));
    return await work(page);
  } finally {
    await browser.close();
  }
}
