// Every page in both themes: nothing that axe objects to, nothing wider than 320 pixels, a picture of each.
import { ONE_MACHINE } from '../support/cluster.ts';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import AxeBuilder from '@axe-core/playwright';
import type { Page } from '@playwright/test';
import { expect, test } from '../support/fixtures.ts';
import { NewProjectPage, ProjectsPage, SignInPage, Workspace, hydrated, shifted } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { holdRoles } from '../support/world.ts';

const PICTURES = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'screenshots');
const WIDTHS = [1440, 320];
const THEMES = ['light', 'dark'] as const;

/** Looks at what is open in each theme and width. */
async function inspect(page: Page, name: string): Promise<void> {
  fs.mkdirSync(PICTURES, { recursive: true });
  for (const theme of THEMES) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: width === 320 ? 700 : 900 });
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
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
}

test.describe.configure({ timeout: 120_000 });

test('sign-in, and a link that does not work', async ({ visitor, server, allowConsole }) => {
  allowConsole(/status of 4\d\d/);
  server.allow(/a sign-in code that was never made/);
  const page = await (await visitor({ signedIn: false })).newPage();
  await page.goto('/sign-in');
  await expect(new SignInPage(page).heading).toBeVisible();
  await inspect(page, 'sign-in');
  await page.goto('about:blank');
  await page.goto(`${server.origin}/sign-in#not-a-code`);
  await expect(new SignInPage(page).problem).toBeVisible();
  await inspect(page, 'sign-in-refused');
});

test('projects: none, and some in several states', async ({ ownServer, visitor }) => {
  const server = await ownServer();
  const page = await (await visitor({ server })).newPage();
  await new ProjectsPage(page).open();
  await inspect(page, 'projects-empty');
  const api = await server.api();
  await api.running('Tidewater API');
  const stopped = await api.running('משימות – 夜市 night market with a name that is rather long for a row of a list');
  await api.act(stopped.id, 'stop');
  await api.reaches(stopped.id, 'Stopped');
  const gone = await api.running('Ledger', { database: false });
  await api.terminate(gone.id);
  await api.reaches(gone.id, 'Terminated');
  await expect(page.locator('.phase-pill')).toHaveCount(3);
  await inspect(page, 'projects');
});

test('new project, and what is wrong with it', async ({ signedIn }) => {
  const form = await new NewProjectPage(signedIn).open();
  await inspect(signedIn, 'new-project');
  await form.name.fill('x'.repeat(301));
  await form.create.click();
  await inspect(signedIn, 'new-project-refused');
});

test('workspace: running, with its menus and dialogs, and stopped', async ({ api, project, visitor }) => {
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { LOG_LEVEL: 'debug' } } });
  const page = await (await visitor()).newPage();
  const workspace = await new Workspace(page).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await terminal.enter("psql -c 'select 6*7 as answer'; ls --color=always -d /usr/* | head");
  await terminal.sees(/42/);
  await inspect(page, 'workspace');
  const web = await Terminal.open(api, project.id, { session: 'web' });
  await web.prompt();
  await api.output(project.id, 'cat > web.js', {
    stdin: "require('http').createServer((q, r) => r.setHeader('content-type', 'text/html').end('<!doctype html><html lang=en><title>Boats</title><h1>Boats for hire</h1>')).listen(3000);\n",
  });
  web.type('node web.js\r');
  await expect(workspace.preview.getByRole('heading', { name: 'Boats for hire' })).toBeVisible();
  await inspect(page, 'workspace-preview');
  await workspace.openDelete();
  await inspect(page, 'delete-dialog');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Sandbox actions' }).click();
  await inspect(page, 'workspace-actions');
  await page.keyboard.press('Escape');
  await api.act(project.id, 'stop');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'stopped');
  await inspect(page, 'workspace-stopped');
});

test('the other pages of a project', async ({ api, project, visitor }) => {
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { LOG_LEVEL: 'debug', lower_case: 'x', SESSION_SECRET: 'y'.repeat(500) } } });
  const page = await (await visitor()).newPage();
  for (const name of ['environment', 'database', 'activity', 'logs', 'settings']) {
    await page.goto(`/projects/${project.id}/${name}`);
    await expect(page.getByRole('heading', { level: 1 }).first()).toBeVisible();
    await hydrated(page);
    await inspect(page, `project-${name}`);
  }
});

test('a start that takes its time shows each step, its time so far and its limit', ONE_MACHINE, async ({ ownServer, visitor }) => {
  const server = await ownServer();
  const api = await server.api();
  const page = await (await visitor({ server })).newPage();
  const release = await holdRoles(server);
  try {
    const project = await api.create('Slow harbour');
    const workspace = await new Workspace(page).open(project.id);
    await expect(workspace.phase).toHaveAttribute('data-phase', 'creating');
    const stage = (name: string) => page.locator('.stage').filter({ hasText: name });
    const database = stage('Database Creation');
    await expect(database).toHaveAttribute('data-state', 'running');
    await expect(database.locator('.stage-time')).toHaveText(/^\d+\.\d s of 60 s$/);
    await expect(stage('Environment Ready')).toHaveAttribute('data-state', 'waiting');
    await expect(page).toHaveTitle(/^(Creating|Starting) Slow harbour \(1 of 5\)/);
    const seconds = async () => Number.parseFloat((await database.locator('.stage-time').textContent())!);
    const before = await seconds();
    await expect.poll(seconds, { message: 'the time goes on' }).toBeGreaterThan(before + 0.5);
    await inspect(page, 'creating');
    expect((await api.sandbox(project.id)).stages[0]).toMatchObject({ state: 'running', endedAt: null });
    await release();
    await expect(workspace.phase).toHaveAttribute('data-phase', 'running');
    await workspace.terminal().live();
  } finally {
    await release();
  }
});

test('nothing moves while a page comes alive', async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  const at = `/projects/${project.id}`;
  for (const path of ['/sign-in', '/', '/projects/new', at, `${at}/environment`, `${at}/database`, `${at}/activity`, `${at}/logs`, `${at}/settings`, '/settings']) {
    await page.goto(path);
    if (path !== '/sign-in') await hydrated(page);
    if (path === at) await new Workspace(page).terminal().prompt();
    expect.soft(await shifted(page), `what moved on ${path}`).toBeLessThan(0.005);
  }
});

test('settings, and a page that is not there', async ({ signedIn, allowConsole }) => {
  allowConsole(/status of 404/);
  await signedIn.goto('/settings');
  await hydrated(signedIn);
  await inspect(signedIn, 'settings');
  const answer = await signedIn.goto('/projects/00000000-0000-7000-8000-000000000000');
  expect(answer!.status()).toBe(404);
  await inspect(signedIn, 'not-found');
});

test('a project that cannot start says why and what to do', ONE_MACHINE, async ({ ownServer, visitor }) => {
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Broken');
  await api.act(project.id, 'stop');
  await api.reaches(project.id, 'Stopped');
  // Its home folder became somebody's file.
  const home = server.home();
  fs.renameSync(home, `${home}.away`);
  fs.writeFileSync(home, 'not a folder');
  await api.act(project.id, 'start');
  const page = await (await visitor({ server })).newPage();
  const workspace = await new Workspace(page).open(project.id);
  await expect(workspace.phase).toHaveAttribute('data-phase', 'error');
  server.allow(/volume|home folder|failed to|sandbox/i);
  const { cause } = await api.sandbox(project.id);
  expect(cause!.nextSteps.length).toBeGreaterThan(0);
  await expect(page.getByText(cause!.message).first()).toBeVisible();
  await inspect(page, 'failed');
  fs.rmSync(home);
  fs.renameSync(`${home}.away`, home);
  await expect(workspace.phase, 'reconciling went on').toHaveAttribute('data-phase', 'running', { timeout: 60_000 });
});

test('keyboard alone: skip link, menus, dialogs, and out of the terminal', async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  const workspace = await new Workspace(page).open(project.id);
  await workspace.terminal().prompt();
  await workspace.terminal().focus();
  await page.keyboard.press('Tab');
  expect(await page.evaluate(() => document.activeElement?.className)).toContain('xterm');
  await page.keyboard.press('Control+Shift+Escape');
  expect(await page.evaluate(() => document.activeElement?.className ?? '')).not.toContain('xterm');
  const actions = page.getByRole('button', { name: 'Sandbox actions' });
  await actions.focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('menu', { name: 'Sandbox actions' })).toBeVisible();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Escape');
  await expect(page.getByRole('menu', { name: 'Sandbox actions' })).toBeHidden();
  await expect(actions).toBeFocused();
});
