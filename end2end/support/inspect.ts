// A page as it looks in both themes, wide and narrow: a picture of each, nothing that axe objects to, nothing that scrolls
// sideways.
import AxeBuilder from '@axe-core/playwright';
import { type Page, expect } from '@playwright/test';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const PICTURES = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'screenshots');
const WIDTHS = [1440, 320];
const THEMES = ['light', 'dark'] as const;

/** Looks at what is open in each theme and width. */
export async function inspect(page: Page, name: string, widths: readonly number[] = WIDTHS): Promise<void> {
  fs.mkdirSync(PICTURES, { recursive: true });
  const before = page.viewportSize()!;
  for (const theme of THEMES) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
    for (const width of widths) {
      await page.setViewportSize({ width, height: width < 500 ? 700 : 900 });
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
      await page.screenshot({ path: path.join(PICTURES, `${name}-${theme}-${width}.png`), animations: 'disabled' });
      const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect.soft(sideways, `${name} at ${width} px scrolls sideways`).toBeLessThanOrEqual(0);
      // The preview is the user's own page, and the terminal's rows are drawn by xterm.js.
      const { violations } = await new AxeBuilder({ page }).exclude('iframe').exclude('.xterm-rows').analyze();
      const told = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} (${failureSummary})`).join(' | ')}`);
      expect.soft(told, `axe, ${name}, ${theme}, ${width} px`).toEqual([]);
    }
  }
  await page.setViewportSize(before);
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
}
