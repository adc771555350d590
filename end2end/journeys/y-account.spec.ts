// The account's page: API tokens made, shown once, used and revoked; what this browser keeps of how things look.
import type { Locator, Page } from '@playwright/test';
import { Api } from '../support/api.ts';
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { Workspace, hydrated } from '../support/pages.ts';

const row = (page: Page, name: string): Locator => page.getByRole('row').filter({ has: page.getByText(name, { exact: true }) });

test('an API token is made, shown once, and refused once it is revoked', async ({ server, signedIn: page }) => {
  await page.goto('/settings');
  await hydrated(page);
  const tokens = page.getByRole('region', { name: 'API tokens' });
  const opener = tokens.getByRole('button', { name: 'New token' });
  const dialog = page.getByRole('dialog', { name: 'New API token' });
  const name = dialog.getByRole('textbox', { name: 'Name' });
  const secret = tokens.locator('.made-token code');
  const make = dialog.getByRole('button', { name: 'Create token' });

  // The navigation is in the order of the page, and has nothing that is not there: GitHub is not set up.
  const links = page.getByRole('navigation', { name: 'Settings', exact: true }).getByRole('link');
  await expect(links).toHaveText(['API tokens', 'Claude Code', 'Appearance', 'About', 'Sessions', 'API', 'Doctor']);

  await opener.click();
  await expect(name).toBeFocused();
  await make.click();
  await expect(dialog).toContainText('A token needs a name, so that you know later what uses it.');
  await expect(name).toHaveAttribute('aria-invalid', 'true');
  await inspect(page, 'token-dialog');
  await name.fill('Nightly build');
  await dialog.getByRole('radio', { name: /^Read and write/ }).check();
  await dialog.getByLabel('Expires').selectOption('In a year');
  await make.click();
  await expect(dialog).toHaveCount(0);
  await expect(opener).toBeFocused();
  await expect(tokens).toContainText('Token Nightly build was created.');
  await expect(row(page, 'Nightly build')).toContainText('read and write');
  await expect(row(page, 'Nightly build')).toContainText('Never used');
  const first = await secret.innerText();
  expect(first).toMatch(/^fsa_\S+$/);
  await expect(row(page, 'Nightly build'), 'by which it is known again where it is found').toContainText(`${first.slice(0, 12)}…`);
  await inspect(page, 'token-made');

  // It works, and is shown this one time.
  const nightly = new Api(server.origin, first, server.port);
  const project = await nightly.create('By a token');
  await page.reload();
  await hydrated(page);
  await expect(row(page, 'Nightly build')).toContainText(`${first.slice(0, 12)}…`);
  await expect(secret).toHaveCount(0);
  expect(await page.content()).not.toContain(first);

  // One that reads alone, and is put away by its button.
  await opener.click();
  await name.fill('Dashboard');
  await dialog.getByRole('radio', { name: /^Read(?! and)/ }).check();
  await make.click();
  await expect(tokens).toContainText('Token Dashboard was created.');
  const dashboard = new Api(server.origin, await secret.innerText(), server.port);
  await tokens.getByRole('button', { name: 'I have stored it' }).click();
  await expect(secret).toHaveCount(0);
  await expect(opener).toBeFocused();
  expect((await dashboard.ask('GET', `/api/projects/${project.id}`)).status).toBe(200);
  expect((await dashboard.ask('DELETE', `/api/projects/${project.id}`)).status).toBe(403);
  await nightly.remove(project.id);

  // Revoked, but not on the safe answer.
  const revoke = page.getByRole('button', { name: 'Revoke Nightly build' });
  const question = page.getByRole('alertdialog', { name: 'Revoke Nightly build?' });
  await revoke.click();
  await expect(question.getByRole('button', { name: 'Keep the token' })).toBeFocused();
  await inspect(page, 'token-revoke');
  await question.getByRole('button', { name: 'Keep the token' }).click();
  await expect(question).toHaveCount(0);
  await expect(revoke).toBeFocused();
  expect((await nightly.ask('GET', '/api/projects')).status).toBe(200);
  await revoke.click();
  await question.getByRole('button', { name: 'Revoke it' }).click();
  await expect(page.getByRole('status', { name: 'Notices' })).toContainText('Nightly build is revoked');
  await expect(row(page, 'Nightly build')).toHaveCount(0);
  await expect(opener).toBeFocused();
  expect((await nightly.ask('GET', '/api/projects')).status).toBe(401);
  expect((await dashboard.ask('GET', '/api/projects')).status, 'the other one goes on').toBe(200);
});

test('a theme, less motion, a larger terminal and one for screen readers are chosen, take effect, and stay', async ({ project, signedIn: page }) => {
  const workspace = new Workspace(page);
  /** How a terminal is. Who is not its first viewer, as one is for a moment after a reload, may have a smaller font. */
  const made = (session = 'main') =>
    page.evaluate((session) => {
      const { fontSize, cursorBlink, screenReaderMode } = (window as any).__terminals[session].terminal.options;
      return { fontSize, cursorBlink, screenReaderMode };
    }, session);
  /** Whether buttons glide from colour to colour. */
  const moves = () => page.evaluate(() => getComputedStyle(document.querySelector('.button')!).transitionDuration !== '0s');
  const still = page.getByRole('switch', { name: 'Reduce motion' });
  const reader = page.getByRole('switch', { name: 'Terminal for screen readers' });
  const font = page.getByRole('combobox', { name: 'Terminal font size' });
  const theme = (name: string) => page.getByRole('group', { name: 'Theme' }).getByRole('button', { name });
  const root = page.locator('html');
  const settings = async () => {
    await page.goto('/settings');
    await hydrated(page);
    await expect(font).toBeVisible();
  };
  const usual = { fontSize: 13, cursorBlink: true, screenReaderMode: false };
  const chosen = { fontSize: 16, cursorBlink: false, screenReaderMode: true };
  await workspace.open(project.id);
  await workspace.terminal().prompt();
  await expect.poll(() => made()).toEqual(usual);

  await settings();
  await expect(still).not.toBeChecked();
  await expect(reader).not.toBeChecked();
  await expect(font).toHaveValue('13');
  expect(await moves()).toBe(true);
  await still.check();
  await expect.poll(moves, 'at once').toBe(false);
  await reader.check();
  await expect(theme('System')).toHaveAttribute('aria-pressed', 'true');
  await theme('Dark').click();
  await expect(root).toHaveAttribute('data-theme', 'dark');
  await font.selectOption('16 px');
  await page.reload();
  expect(await root.getAttribute('data-theme'), 'from the first paint on').toBe('dark');
  expect(await moves(), 'after a reload').toBe(false);
  await hydrated(page);
  await expect(still).toBeChecked();
  await expect(reader).toBeChecked();
  await expect(theme('Dark')).toHaveAttribute('aria-pressed', 'true');
  await expect(font).toHaveValue('16');

  await workspace.open(project.id);
  const terminal = await workspace.terminal().prompt();
  await expect.poll(() => made()).toEqual(chosen);
  await terminal.enter('echo announced-$((6*7))');
  await expect(page.locator('#terminal-main .xterm-accessibility'), 'what a screen reader is told').toContainText('announced-42');
  await page.keyboard.press('Control+Shift+5');
  await workspace.terminal('shell-2').live();
  await expect.poll(() => made('shell-2'), 'the second one, too').toEqual(chosen);
  await page.reload();
  await workspace.terminal().live();
  await expect.poll(() => made()).toEqual(chosen);

  // And back.
  await settings();
  await still.uncheck();
  await expect.poll(moves).toBe(true);
  await reader.uncheck();
  await theme('System').click();
  await expect(root).not.toHaveAttribute('data-theme');
  await font.selectOption('13 px');
  await workspace.open(project.id);
  await workspace.terminal().live();
  await expect.poll(() => made()).toEqual(usual);
  await expect(page.locator('#terminal-main .xterm-accessibility')).toHaveCount(0);
});
