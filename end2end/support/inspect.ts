// A page as it looks in both themes, wide and narrow: a picture of each, nothing that axe objects to, nothing that scrolls
// sideways.
import AxeBuilder from '@axe-core/playwright';
import { type Locator, type Page, expect } from '@playwright/test';
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
      // The preview is the user's own page, and the terminal's rows are drawn by xterm.js. What is of WCAG 2.2 alone is off by itself.
      const axe = new AxeBuilder({ page }).exclude('iframe').exclude('.xterm-rows');
      axe.options({ rules: { 'target-size': { enabled: true } }, resultTypes: ['violations'] });
      // In this page alone, and not in another that puts the parts of frames together.
      axe.setLegacyMode(true);
      const { violations } = await axe.analyze();
      const told = violations.flatMap(({ id, help, nodes }) => {
        // An open menu lies over a part of what is beneath it, which is as large as ever.
        const meant = nodes.filter(({ any }) => !any.some(({ data }) => data?.messageKey === 'partiallyObscured'));
        return meant.length === 0 ? [] : [`${id}: ${help}: ${meant.slice(0, 3).map(({ html, failureSummary }) => `${html} (${failureSummary})`).join(' | ')}`];
      });
      expect.soft(told, `axe, ${name}, ${theme}, ${width} px`).toEqual([]);
    }
  }
  await page.setViewportSize(before);
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
}

/** Looks at what is open as few see it: in forced colours, where what ground or shadow tells apart needs a border; and from right to left. */
export async function inspectRare(page: Page, name: string, bordered: readonly Locator[]): Promise<void> {
  const before = page.viewportSize()!;
  await page.emulateMedia({ forcedColors: 'active' });
  for (const part of bordered) {
    const width = await part.evaluate((element) => Number.parseFloat(getComputedStyle(element).borderTopWidth));
    expect.soft(width, `${name}: the border of ${part}`).toBeGreaterThan(0);
  }
  await page.screenshot({ path: path.join(PICTURES, `${name}-forced.png`), animations: 'disabled' });
  await page.emulateMedia({ forcedColors: 'none' });
  await page.evaluate(() => (document.documentElement.dir = 'rtl'));
  await page.setViewportSize({ width: 320, height: 700 });
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  await page.screenshot({ path: path.join(PICTURES, `${name}-rtl-320.png`), animations: 'disabled' });
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect.soft(sideways, `${name} from right to left scrolls sideways`).toBeLessThanOrEqual(0);
  await page.evaluate(() => document.documentElement.removeAttribute('dir'));
  await page.setViewportSize(before);
}

/** The least height of what a finger is to hit, in CSS pixels. */
const FINGER = 36;

/** Of what can be seen, what a finger is to hit and is lower than that. A link within text is as high as its line, and a row opens its project. */
export async function tooLow(page: Page): Promise<string[]> {
  return await page.evaluate((least) => {
    const targets = document.querySelectorAll('button, a[href], select, summary, [role=switch], [role=tab], [role=treeitem], [role^=menuitem], [role=option]');
    const low: string[] = [];
    for (const target of targets) {
      const { width, height } = target.getBoundingClientRect();
      const hit = target.checkVisibility({ checkVisibilityCSS: true }) && width > 1 && getComputedStyle(target).display !== 'inline' && !target.matches('.project-name');
      if (hit && height < least - 0.5) low.push(`${height} px: ${target.outerHTML.slice(0, 120)}`);
    }
    return low;
  }, FINGER);
}
