// The whole journey at 390 px with a finger; thirty seconds without a network; ten tabs of one user.
import { devices } from '@playwright/test';
import { execFileSync } from 'node:child_process';
import { ALONE } from '../support/alone.ts';
import { expect, test } from '../support/fixtures.ts';
import { inspect, tooLow } from '../support/inspect.ts';
import { ProjectsPage, Workspace, hydrated } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

/** How long it is offline, in milliseconds. */
const AWAY_MS = Number(process.env['FSA_OFFLINE_MS'] ?? 30_000);

const sideways = (page: import('@playwright/test').Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

test('from the link to a deleted project on a phone', async ({ ownServer, browser }) => {
  test.setTimeout(180_000);
  const server = await ownServer();
  const api = await server.api();
  const { viewport, userAgent } = { ...devices['iPhone 14'], userAgent: undefined };
  expect(viewport.width).toBe(390);
  const context = await browser.newContext({ baseURL: server.origin, viewport, hasTouch: true, isMobile: true, ...(userAgent ? { userAgent } : {}) });
  const page = await context.newPage();
  await page.goto(await server.signInLink());
  await expect(new ProjectsPage(page).heading).toBeVisible();
  await hydrated(page);
  await new ProjectsPage(page).newProject.tap();
  await page.getByLabel('Project name').fill('In a pocket');
  await hydrated(page);
  expect(await page.evaluate(() => matchMedia('(pointer: coarse)').matches), 'a finger').toBe(true);
  expect.soft(await sideways(page), 'new project').toBeLessThanOrEqual(0);
  expect.soft(await tooLow(page), 'new project').toEqual([]);
  await page.getByRole('button', { name: /Create project/ }).tap();
  const workspace = new Workspace(page);
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running', { timeout: 30_000 });
  const terminal = await workspace.terminal().prompt();

  // A line, and the keys that a touch screen's keyboard lacks.
  await page.locator('#terminal-main').tap();
  await expect(page.locator('#terminal-main .xterm-helper-textarea')).toBeFocused();
  await page.keyboard.type("psql -c 'select 6*7'");
  await page.keyboard.press('Enter');
  await terminal.sees(/^\s*42\s*$/m);
  await page.getByRole('group', { name: 'Terminal keys' }).getByRole('button', { name: 'Up' }).tap();
  await terminal.sees(/select 6\*7'\s*$/);
  const ctrl = page.getByRole('group', { name: 'Terminal keys' }).getByRole('button', { name: 'Ctrl' });
  await ctrl.tap();
  await expect(ctrl).toHaveAttribute('aria-pressed', 'true');
  await page.keyboard.type('c');
  await terminal.sees(/\^C/);
  await expect(page.getByRole('button', { name: 'Split', exact: true }), 'one terminal at a time').toBeHidden();
  expect.soft(await sideways(page), 'workspace').toBeLessThanOrEqual(0);
  expect.soft(await tooLow(page), 'workspace').toEqual([]);
  await inspect(page, 'phone-workspace', [390]);

  // A web server, in the other pane.
  const [project] = await api.projects();
  await api.output(project!.id, 'cat > web.js', {
    stdin: "require('http').createServer((q, r) => r.setHeader('content-type', 'text/html').end('<!doctype html><html lang=en><meta name=viewport content=\"width=device-width\"><title>Boats</title><h1>Boats for hire</h1>')).listen(3000);\n",
  });
  const web = await Terminal.open(api, project!.id, { session: 'web' });
  await web.prompt();
  web.type('node web.js\r');
  await page.getByRole('group', { name: 'Pane' }).getByRole('button', { name: /Preview/ }).tap();
  await expect(workspace.preview.getByRole('heading', { name: 'Boats for hire' })).toBeVisible();
  await expect(page.locator('.terminal-pane')).toBeHidden();
  expect.soft(await tooLow(page), 'preview').toEqual([]);
  await inspect(page, 'phone-preview', [390]);

  // Every page of the bar, whose names can be read, and of its menu.
  const bar = page.getByRole('navigation', { name: 'Project' });
  const more = bar.getByRole('button', { name: 'More' });
  for (const name of ['Terminal', 'Preview', 'Database', 'Files', 'More']) {
    const box = (await bar.getByText(name, { exact: true }).boundingBox())!;
    expect(box.width, `the name of ${name} has room`).toBeGreaterThan(15);
    expect(box.x + box.width, `the name of ${name} is on the screen`).toBeLessThanOrEqual(390);
  }
  const menu = page.locator('#nav-extra');
  await expect(menu).toBeHidden();
  await more.press('Enter');
  await expect(menu.getByRole('link')).toHaveText(['Environment', 'Activity', 'Logs', 'Settings'].map((name) => new RegExp(name)));
  await expect(menu).toBeInViewport({ ratio: 1 });
  await inspect(page, 'phone-more', [390]);
  await page.keyboard.press('Tab');
  await expect(menu.getByRole('link').first()).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(menu).toBeHidden();
  await expect(more).toBeFocused();
  for (const name of ['Database', 'Environment', 'Files', 'Logs', 'Activity', 'Settings']) {
    const within = !['Database', 'Files'].includes(name);
    if (within) await more.tap();
    await bar.getByRole('link', { name }).tap();
    await expect(page.getByRole('heading', { level: 1 }).filter({ hasText: new RegExp(name) }).first()).toBeVisible();
    await expect(menu).toBeHidden();
    await expect.poll(() => more.evaluate((button) => getComputedStyle(button, '::before').content), { message: `the bar says where ${name} is` }).toBe(within ? '""' : 'none');
    expect.soft(await sideways(page), name).toBeLessThanOrEqual(0);
    expect.soft(await tooLow(page), name).toEqual([]);
  }

  // The list, where the port is a link of its own.
  await page.locator('.brand').tap();
  await page.locator('.port-chip').waitFor();
  expect.soft(await tooLow(page), 'projects').toEqual([]);
  await page.goBack();
  await expect(page.getByRole('heading', { level: 1 }).filter({ hasText: 'Settings' })).toBeVisible();

  // The palette, by the account's menu.
  await page.getByRole('button', { name: /^Account/ }).tap();
  await page.getByRole('menuitem', { name: 'Commands' }).tap();
  const palette = page.getByRole('dialog', { name: 'Command palette' });
  await expect(palette).toBeVisible();
  await inspect(page, 'phone-palette', [390]);
  await palette.getByRole('combobox').fill('stop');
  await palette.getByRole('option', { name: /Stop sandbox/ }).tap();
  // The web server runs in a terminal.
  await page.getByRole('button', { name: 'Stop the sandbox' }).tap();
  await expect(workspace.phase).toHaveAttribute('data-phase', 'stopped');

  // Delete.
  await workspace.openDelete();
  const dialog = page.locator('dialog[open]');
  await dialog.getByRole('textbox').fill('In a pocket');
  await dialog.getByRole('button', { name: /Delete/ }).last().tap();
  await until('the project to be gone', async () => (await api.projects()).length === 0, 30_000);
  web.close();
  await context.close();
});

/** Cuts the connections to a port of this machine that are not this process's own, which waits for answers on them. */
function cutOthers(port: number): void {
  const listed = execFileSync('ss', ['-Htnp', 'state', 'established', 'dport', '=', `:${port}`], { encoding: 'utf8' });
  const others = listed.split('\n').filter((line) => line !== '' && !line.includes(`pid=${process.pid},`));
  const ports = others.map((line) => /:(\d+)\s+\S+:\d+\s/.exec(line)?.[1]).filter((found) => found !== undefined);
  expect(ports.length, 'the browser has connections').toBeGreaterThan(0);
  for (const own of ports) execFileSync('ss', ['-K', 'sport', '=', `:${own}`, 'dport', '=', `:${port}`]);
}

test('away for a while and back: old state is said to be old, what was typed arrives once', async ({ api, project, server, visitor, allowConsole }) => {
  // Cutting a connection from outside is the administrator's.
  test.skip(process.getuid?.() !== 0, 'needs root');
  test.setTimeout(AWAY_MS + 120_000);
  allowConsole(/ERR_INTERNET_DISCONNECTED/, /WebSocket/, /ERR_/, /net::/);
  const context = await visitor();
  const page = await context.newPage();
  const workspace = await new Workspace(page).open(project.id);
  const terminal = await workspace.terminal().prompt();
  // bash goes on with a loop where Ctrl C comes just as the command in it has ended by itself; one with a trap does not.
  await terminal.enter('(trap exit INT; for i in $(seq 100000); do echo tick-$i; sleep 0.2; done)');
  await terminal.sees(/^tick-5$/m);
  const other = await context.newPage();
  await other.goto('/settings');
  await hydrated(other);
  await other.getByRole('button', { name: 'New token' }).click();
  const dialog = other.getByRole('dialog');
  const [named, create] = [dialog.getByLabel('Name'), dialog.getByRole('button', { name: 'Create token' })];
  await named.fill('typed before');
  // Nothing new is opened, and what is open is cut: by itself, Chromium leaves streams and sockets that are open alone.
  await context.setOffline(true);
  cutOthers(server.port);
  const from = Date.now();
  await until('the page to say that it is away', () => page.locator('.link-banner > *').first().isVisible(), 60_000);
  await expect(page.locator('.link-banner')).toContainText(/\d\d:\d\d:\d\d/);
  // What asks something of the server rests, and says why; what is typed into a dialog stays.
  await expect(create).toHaveAttribute('aria-disabled', 'true');
  await expect(create).toHaveAttribute('title', /^No connection to the server/);
  await named.fill('typed away');
  await named.press('Enter');
  await create.click({ force: true });
  await expect(dialog).toBeVisible();
  await expect(named).toHaveValue('typed away');
  await page.bringToFront();
  // What happens meanwhile is not on the page.
  await api.must('PATCH', `/api/projects/${project.id}`, { body: { name: 'Renamed meanwhile' } });
  await terminal.focus();
  await page.keyboard.press('Control+c');
  await page.keyboard.type('echo typed-$((40+2))-away');
  await page.keyboard.press('Enter');
  await until('thirty seconds', () => Date.now() - from >= AWAY_MS, AWAY_MS + 10_000);
  await expect(page.getByRole('heading', { level: 1 })).toContainText(project.name);
  expect(await terminal.text()).not.toContain('typed-42-away');
  await context.setOffline(false);
  await expect(page.locator('.link-banner > *')).toHaveCount(0, { timeout: 60_000 });
  await expect(page.getByRole('heading', { level: 1 })).toContainText('Renamed meanwhile');
  await expect(create).not.toHaveAttribute('aria-disabled');
  await expect(create).not.toHaveAttribute('title');
  await expect(named, 'nothing was asked for, and nothing is lost').toHaveValue('typed away');
  await other.close();
  await terminal.live(60_000);
  await terminal.sees(/^typed-42-away$/m, 30_000);
  const text = await terminal.text();
  expect(text.match(/^typed-42-away$/gm)).toHaveLength(1);
  const ticks = [...text.matchAll(/^tick-(\d+)$/gm)].map(([, n]) => Number(n));
  expect(ticks, 'every line once, in order').toEqual(ticks.map((_, at) => ticks[0]! + at));
});

test('ten tabs of one user: each is live, all agree, and one terminal is in all of them', ALONE, async ({ api, project, visitor }) => {
  test.setTimeout(240_000);
  const context = await visitor();
  const pages = [];
  for (let at = 0; at < 10; at += 1) {
    const page = await context.newPage();
    await new Workspace(page).open(project.id);
    await new Workspace(page).terminal().live(60_000);
    pages.push(page);
  }
  // One of them is typed into, all of them show it.
  const first = new Workspace(pages[0]!);
  await pages[0]!.bringToFront();
  await (await first.terminal().prompt()).enter('echo tabs-$((4*10+2))');
  for (const page of pages) await new Workspace(page).terminal().sees(/^tabs-42$/m, 30_000);
  await api.act(project.id, 'stop');
  for (const page of pages) await expect(new Workspace(page).phase).toHaveAttribute('data-phase', 'stopped');
  await api.act(project.id, 'start');
  for (const page of pages) await expect(new Workspace(page).phase).toHaveAttribute('data-phase', 'running', { timeout: 60_000 });
  for (const page of pages) await new Workspace(page).terminal().live(60_000);
  // All of them still answer: a browser opens six connections to a host, and ten streams would take them all.
  await pages[9]!.bringToFront();
  await pages[9]!.goto('/settings');
  await hydrated(pages[9]!);
});
