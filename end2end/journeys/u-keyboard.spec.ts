// The whole journey by the keyboard alone: nothing here clicks, and nothing is focused but by keys.
import type { Page } from '@playwright/test';
import { ALONE } from '../support/alone.ts';
import { expect, test } from '../support/fixtures.ts';
import { focused, goBy, inTerminal, tabTo } from '../support/keyboard.ts';
import { ProjectsPage, Workspace, hydrated } from '../support/pages.ts';
import { until } from '../support/until.ts';

async function openPalette(page: Page): Promise<void> {
  await page.keyboard.press('Control+k');
  await expect(page.getByRole('combobox', { name: 'Search projects and commands' })).toBeFocused();
}

// Its keys come in twos, of which the second is waited for a second and a half.
test('from the link to a deleted project, without a pointer', ALONE, async ({ ownServer, visitor }) => {
  test.setTimeout(300_000);
  const server = await ownServer();
  const api = await server.api();
  const page = await (await visitor({ signedIn: false, server })).newPage();
  await page.goto(await server.signInLink());
  await expect(new ProjectsPage(page).heading).toBeVisible();
  await hydrated(page);
  // The skip link is the first thing, and leads into the page.
  await page.keyboard.press('Tab');
  expect(await focused(page)).toMatch(/Skip to content/);
  await page.keyboard.press('Enter');
  await expect(page.locator('#main')).toBeFocused();
  await page.keyboard.press('n');
  await expect(page.getByRole('heading', { level: 1, name: 'New project' })).toBeVisible();
  await tabTo(page, /Project name/);
  await page.keyboard.type('By keys');
  await page.keyboard.press('Enter');
  const workspace = new Workspace(page);
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running', { timeout: 30_000 });
  await workspace.terminal().prompt();
  const [project] = await api.projects();

  // Into the terminal, a line, out of it, another terminal, back.
  await page.keyboard.press('Alt+1');
  await until('the focus in the terminal', () => inTerminal(page));
  await page.keyboard.type("psql -c 'select 6*7'");
  await page.keyboard.press('Enter');
  await workspace.terminal().sees(/^\s*42\s*$/m);
  await page.keyboard.press('Control+Shift+Backquote');
  await expect(page.getByRole('tab')).toHaveCount(2);
  await until('the focus in the terminal', () => inTerminal(page));
  await workspace.terminal('shell-2').prompt();
  await page.keyboard.type('echo 2nd');
  await page.keyboard.press('Enter');
  await workspace.terminal('shell-2').sees(/^2nd$/m);
  await page.keyboard.press('Alt+1');
  await expect(page.getByRole('tab').first()).toHaveAttribute('aria-selected', 'true');
  await page.keyboard.press('Alt+2');
  await expect(page.getByRole('tab').nth(1)).toHaveAttribute('aria-selected', 'true');
  await until('the focus in the terminal', () => inTerminal(page));
  await page.keyboard.press('Control+Shift+Escape');
  await expect(page.getByRole('tab').nth(1)).toBeFocused();
  await page.keyboard.press('ArrowLeft');
  await expect(page.getByRole('tab').first()).toHaveAttribute('aria-selected', 'true');

  // Two terminals, from one to the other, and one again by the palette.
  await page.keyboard.press('Control+Shift+5');
  await expect(page.getByRole('region', { name: 'Second terminal' })).toBeVisible();
  await until('the focus in the second', () => page.evaluate(() => document.activeElement?.closest('.split-pane') !== null));
  await openPalette(page);
  await page.keyboard.type('close the second');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('region', { name: 'Second terminal' })).toHaveCount(0);
  await until('the focus in the first', () => inTerminal(page));
  await page.keyboard.press('Control+Shift+Escape');

  // A variable, and the restart that brings it.
  await goBy(page, 'e', /\/environment$/);
  await expect(page.getByRole('heading', { level: 1, name: 'Environment' })).toBeVisible();
  await expect(page.locator('#main')).toBeFocused();
  await expect(page.getByRole('button', { name: 'Add variable' })).toBeVisible();
  await tabTo(page, /^\s*Add variable/, 90);
  await page.keyboard.press('Enter');
  const variable = page.getByRole('dialog', { name: 'Add a variable' });
  await expect(variable.getByRole('textbox', { name: 'Name' })).toBeFocused();
  await page.keyboard.type('BY_KEYS');
  await tabTo(page, /^Value/, 1);
  await page.keyboard.type('yes');
  // Its field has lines: Enter would begin another one.
  await page.keyboard.press('Control+Enter');
  await expect(variable).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Add variable' }), 'the focus is where the dialog was opened').toBeFocused();
  await expect(page.getByRole('button', { name: /Restart now|Restart and apply/ }).first()).toBeVisible();
  await tabTo(page, /Restart now|Restart and apply/, 90);
  await page.keyboard.press('Enter');
  await until('the variable', async () => (await api.sandbox(project!.id)).phase === 'Running' && (await api.exec(project!.id, 'echo $BY_KEYS')).stdout === 'yes\n', 30_000);

  // A program that runs is not ended by one key: it asks, and the focus is where it was.
  await page.keyboard.press('Escape');
  await goBy(page, 't', new RegExp(`/projects/${project!.id}$`));
  await workspace.terminal().prompt();
  await until('the focus in the terminal', () => inTerminal(page));
  await page.keyboard.type('sleep 1000');
  await page.keyboard.press('Enter');
  const busy = async () => (await api.must<{ name: string; busy: boolean }[]>('GET', `/api/sandbox/${project!.id}/terminals`)).filter((session) => session.busy).map(({ name }) => name);
  await until('the program to run', async () => (await busy()).join() === 'main');
  await page.keyboard.press('Control+Shift+Escape');
  const tab = page.getByRole('tab', { selected: true });
  await expect(tab).toBeFocused();
  for (const [key, name] of [['s', 'Stop'], ['Shift+R', 'Restart']] as const) {
    await page.keyboard.press(key);
    const asks = page.getByRole('alertdialog', { name: `${name} the sandbox?` });
    await expect(asks).toContainText('A program runs in the terminal “main”.');
    await expect(asks.getByRole('button', { name: 'Keep it running' })).toBeFocused();
    await page.keyboard.press(name === 'Stop' ? 'Escape' : 'Enter');
    await expect(asks).toHaveCount(0);
    await expect(tab).toBeFocused();
    expect(await busy(), 'it goes on').toEqual(['main']);
  }
  await openPalette(page);
  await page.keyboard.type('restart sandbox');
  await expect(page.getByRole('option', { selected: true })).toContainText('Restart sandbox');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('alertdialog')).toBeVisible();
  await page.keyboard.press('Escape');
  const { generation } = await api.sandbox(project!.id);
  await page.keyboard.press('Shift+R');
  await expect(page.getByRole('button', { name: 'Keep it running' })).toBeFocused();
  await tabTo(page, /^\s*Restart the sandbox/, 2);
  await page.keyboard.press('Enter');
  await until('the restart', async () => {
    const now = await api.sandbox(project!.id);
    return now.generation > generation && now.phase === 'Running' && (await busy()).length === 0;
  }, 30_000);

  // Stop, start: single keys.
  await page.keyboard.press('Escape');
  await goBy(page, 'd', /\/database$/);
  await expect(page.getByRole('heading', { level: 1, name: 'Database' })).toBeVisible();
  await expect(page.locator('#main')).toBeFocused();
  await page.keyboard.press('s');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'stopped', { timeout: 60_000 });
  await page.keyboard.press('s');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running', { timeout: 30_000 });

  // All activity, and its search by a key.
  await openPalette(page);
  await page.keyboard.type('all activity');
  await page.keyboard.press('Enter');
  const search = page.getByRole('searchbox', { name: 'Search activity' });
  await expect(page).toHaveURL(/\/activity$/);
  await expect(search).toBeVisible();
  await expect(page.locator('#main')).toBeFocused();
  await page.keyboard.press('/');
  await expect(search).toBeFocused();

  // The theme and the account, by the menu.
  await openPalette(page);
  await page.keyboard.type('account');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1, name: 'Settings' })).toBeVisible();
  await expect(page.locator('#main')).toBeFocused();
  await tabTo(page, /^Account:/, 120);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('menu', { name: 'Account' })).toBeVisible();
  for (let at = 0; at < 8 && !/Switch theme/.test(await focused(page)); at += 1) await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await expect(page.locator('html')).toHaveAttribute('data-theme', /dark|light/);

  // Delete: the name is typed.
  await openPalette(page);
  await page.keyboard.type('by keys');
  await page.keyboard.press('Enter');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running');
  await until('the focus in the terminal', () => inTerminal(page));
  await page.keyboard.press('Control+Shift+Escape');
  // Forwards is the terminal, which keeps Tab.
  await tabTo(page, /^Sandbox actions/, 60, 'Shift+Tab');
  await page.keyboard.press('Enter');
  for (let at = 0; at < 9 && !/Delete project/.test(await focused(page)); at += 1) await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog').or(page.getByRole('alertdialog'));
  await expect(dialog).toBeVisible();
  await until('the focus in the dialog', () => page.evaluate(() => document.activeElement?.closest('dialog') !== null));
  if (!(await page.evaluate(() => document.activeElement instanceof HTMLInputElement))) await tabTo(page, /name/i);
  await page.keyboard.type('By keys');
  await page.keyboard.press('Enter');
  await until('the project to be gone', async () => (await api.projects()).length === 0, 30_000);
  await page.goto('/');
  await hydrated(page);
  await expect(page.getByText('Create your first project')).toBeVisible();
});
