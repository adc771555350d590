// What the pages do between the great journeys: choosing ports, tabs of terminals, questions before what
// cannot be taken back, and where the focus goes.
import type { Api, Project } from '../support/api.ts';
import { expect, test } from '../support/fixtures.ts';
import { NewProjectPage, ProjectsPage, SignInPage, Workspace, hydrated } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

const SERVER =
  "const [port, title] = process.argv.slice(2); require('http').createServer((q, r) => r.setHeader('content-type', 'text/html').end('<!doctype html><html lang=en><title>x</title><h1>' + title + '</h1>')).listen(Number(port), '127.0.0.1', () => console.log('serving'));\n";

/** Serves one heading on a port, from a terminal of its own. */
async function serve(api: Api, project: Project, port: number, title: string): Promise<void> {
  await api.output(project.id, 'cat > serve.js', { stdin: SERVER });
  const terminal = await Terminal.open(api, project.id, { session: `web-${port}` });
  await terminal.prompt();
  const from = terminal.end;
  terminal.type(`node serve.js ${port} ${title}\r`);
  await terminal.sees(/^serving/m, from);
  await until(`port ${port} to be told`, async () => (await api.sandbox(project.id)).ports.some((open) => open.port === port), 5_000);
}

test('another open port is loaded when it is chosen, and a restart keeps the choice', async ({ api, project, visitor }) => {
  await serve(api, project, 3000, 'First');
  await serve(api, project, 5000, 'Second');
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await expect(workspace.preview.getByRole('heading', { name: 'First' })).toBeVisible();
  await workspace.previewPane.getByRole('button', { name: /choose another/ }).click();
  await workspace.page.getByRole('menuitemradio', { name: /5000/ }).click();
  await expect(workspace.preview.getByRole('heading', { name: 'Second' })).toBeVisible();
  await api.act(project.id, 'restart');
  await expect(workspace.previewPane).toContainText('Nothing listens on port 5000');
});

test('a terminal opened elsewhere has its tab here, and a new one is another', async ({ api, project, visitor }) => {
  const elsewhere = await Terminal.open(api, project.id, { session: 'shell-2' });
  await elsewhere.prompt();
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  await workspace.terminal().live();
  await expect(page.locator('[role=tab][data-session=shell-2]')).toBeVisible();
  // A page that was just opened leaves the focus where it is.
  expect(await page.evaluate(() => document.activeElement?.className ?? '')).not.toContain('xterm');
  await page.getByRole('button', { name: 'New terminal' }).click();
  await expect(page.locator('[role=tab][data-session=shell-3]')).toHaveAttribute('aria-selected', 'true');
  await workspace.terminal('shell-3').prompt();
  await until('the new terminal to have the focus', () => page.evaluate(() => document.activeElement?.className.includes('xterm') ?? false));

  await page.getByRole('button', { name: 'Close this terminal' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'End this shell' }).click();
  await expect(page.locator('[role=tab][data-session=shell-3]')).toHaveCount(0);
  await expect(page.locator('[role=tab][aria-selected=true]')).toBeFocused();
  const names = (await api.must<{ name: string; exited?: number | null }[]>('GET', `/api/sandbox/${project.id}/terminals`))
    .filter(({ exited }) => exited === undefined || exited === null)
    .map(({ name }) => name);
  expect(names).toContain('shell-2');
  expect(names).not.toContain('shell-3');
});

test('what was typed before the page is alive is kept', async ({ visitor }) => {
  const page = await (await visitor()).newPage();
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route(/\.wasm$/, async (route) => {
    await held;
    await route.continue();
  });
  // Not until it is loaded: the WebAssembly, which is held, is a part of that.
  await page.goto('/projects/new', { waitUntil: 'domcontentloaded' });
  const form = new NewProjectPage(page);
  await form.name.fill('Typed early');
  await form.database.uncheck();
  release();
  await hydrated(page);
  await expect(form.name).toHaveValue('Typed early');
  await expect(page.locator('#name-hint')).toContainText('typed-early');
  await expect(form.database).not.toBeChecked();
  await expect(page.getByLabel('Summary')).toContainText('None');
});

test('a page that cannot come alive says so', async ({ visitor, allowConsole }) => {
  allowConsole(/./);
  const page = await (await visitor()).newPage();
  await page.route(/\.wasm$/, (route) => route.abort());
  await page.goto('/');
  await expect(page.getByRole('alert').filter({ hasText: 'This page did not come alive' })).toBeVisible();
});

test('terminating asks first, and keeps the sandbox on the safe answer', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  await page.getByRole('button', { name: 'Sandbox actions' }).click();
  await page.getByRole('menuitem', { name: /^Terminate/ }).click();
  const keep = page.getByRole('alertdialog').getByRole('button', { name: 'Keep the sandbox' });
  await expect(keep).toBeFocused();
  await keep.click();
  expect((await api.sandbox(project.id)).desired).toBe('running');
  await workspace.act('Terminate');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'terminated');
});

test('after signing out and in again every tab is live', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/status of 401/, /WebSocket/, /ERR_/);
  const server = await ownServer();
  const context = await visitor({ server });
  const one = await context.newPage();
  await new ProjectsPage(one).open();
  const two = await context.newPage();
  await new ProjectsPage(two).open();
  await two.getByRole('button', { name: /Account/ }).click();
  await two.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(new SignInPage(two).heading).toBeVisible();
  await expect(one.getByText('You are signed out.')).toBeVisible();
  await two.goto('about:blank');
  await two.goto(await server.newSignInLink());
  await expect(new ProjectsPage(two).heading).toBeVisible();
  await expect(two.locator('.link-note')).toContainText('Live');
  await expect(one.locator('.link-note')).toContainText('Live');
  const project = await (await server.api()).create('Seen by both');
  for (const page of [one, two]) await expect(new ProjectsPage(page).row('Seen by both')).toBeVisible();
  await (await server.api()).remove(project.id);
});

test('under 900 px the address says which pane is shown', async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  await page.setViewportSize({ width: 800, height: 800 });
  const workspace = await new Workspace(page).open(project.id);
  const nav = page.getByRole('navigation', { name: 'Project' });
  await page.getByRole('group', { name: 'Pane' }).getByRole('button', { name: /Preview/ }).click();
  await expect(workspace.previewPane).toBeVisible();
  await expect(nav.locator('[aria-current=page]')).toContainText('Preview');
  await nav.getByRole('link', { name: 'Terminal' }).click();
  await expect(workspace.previewPane).toBeHidden();
  await expect(nav.locator('[aria-current=page]')).toContainText('Terminal');
});

test('a chosen order of projects is the server’s as well', async ({ project, signedIn }) => {
  const list = await new ProjectsPage(signedIn).open();
  await expect(list.row(project.name)).toBeVisible();
  const sort = signedIn.getByLabel('Sort projects');
  await sort.selectOption('Name');
  const answer = await signedIn.request.get('/');
  expect(await answer.text()).toMatch(/<option[^>]* selected[^>]*>Name/);
});

test('a link that is no code at all is refused in words', async ({ visitor }) => {
  const page = await (await visitor({ signedIn: false })).newPage();
  await page.goto('/sign-in#%zz');
  await new SignInPage(page).says('forged');
  expect(page.url()).not.toContain('#');
});

test('a log is chosen, read and followed', async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  await page.goto(`/projects/${project.id}/logs`);
  await page.getByLabel('Which log').selectOption('keeper');
  await expect(page.locator('.log-lines')).toContainText(/keeping/i);
});
