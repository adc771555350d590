// A page by the keyboard alone: where the focus is, and how it is got elsewhere.
import { type Page, expect } from '@playwright/test';

/** What has the focus: its name, and the text in it. */
export const focused = (page: Page): Promise<string> =>
  page.evaluate(() => {
    const at = document.activeElement;
    const named = at?.getAttribute('aria-labelledby');
    const label = at?.id ? document.querySelector(`label[for="${at.id}"]`)?.textContent : undefined;
    return `${at?.getAttribute('aria-label') ?? (named && document.getElementById(named)?.textContent) ?? label ?? ''} ${at?.textContent ?? ''}`;
  });

/** Goes forwards by Tab to what is called so, and says so if it is not there. */
export async function tabTo(page: Page, name: RegExp, most = 60, key = 'Tab'): Promise<void> {
  const seen: string[] = [];
  for (let at = 0; at < most; at += 1) {
    await page.keyboard.press(key);
    const here = await focused(page);
    if (name.test(here)) return;
    seen.push(here.trim().slice(0, 40));
  }
  throw new Error(`Tab did not reach ${name}; it went by ${JSON.stringify(seen)}`);
}

/**
 * Goes to a page by `g` and its key. The second key is waited for a second and a half, which a busy machine may be late for:
 * then both are pressed again, but never on the page itself, where they might be typed into something.
 */
export async function goBy(page: Page, key: string, address: RegExp): Promise<void> {
  await expect(async () => {
    if (!address.test(page.url())) {
      await page.keyboard.press('g');
      await page.keyboard.press(key);
    }
    await expect(page).toHaveURL(address, { timeout: 5_000 });
  }).toPass({ timeout: 60_000 });
}

/** Whether a terminal has it. */
export const inTerminal = (page: Page): Promise<boolean> => page.evaluate(() => document.activeElement?.className.includes('xterm') ?? false);
