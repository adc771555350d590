// Every page in both themes: nothing that axe objects to, nothing wider than 320 pixels, a picture of each.
import { ALONE } from '../support/alone.ts';
import { ONE_MACHINE } from '../support/cluster.ts';
import fs from 'node:fs';
import path from 'node:path';
import type { Request } from '@playwright/test';
import { fileURLToPath } from 'node:url';
import { expect, test } from '../support/fixtures.ts';
import { inspect, inspectRare } from '../support/inspect.ts';
import { NewProjectPage, ProjectsPage, SignInPage, Workspace, hydrated, shifted } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { foldersOf, holdRoles } from '../support/world.ts';

test.describe.configure({ timeout: 180_000 });

/** Pages of a project beside its workspace. */
const OTHERS = ['environment', 'database', 'files', 'activity', 'logs', 'settings'];

/** Each page of the app, and under which names it is looked at. */
const LOOKS: Record<string, string[]> = {
  '/sign-in': ['sign-in', 'sign-in-refused'],
  '/': ['projects', 'projects-empty', 'projects-no-match', 'projects-away', 'projects-signed-out'],
  '/projects/new': ['new-project', 'new-project-refused'],
  '/projects/:id': ['creating', 'failed', 'workspace', 'workspace-preview', 'workspace-stopped', 'not-found', 'delete-dialog'],
  '/projects/:id/environment': ['project-environment'],
  '/projects/:id/activity': ['project-activity'],
  '/projects/:id/settings': ['project-settings'],
  '/projects/:id/:part': ['project-database', 'project-files', 'project-logs'],
  '/activity': ['activity'],
  '/settings': ['settings'],
  // The server's own.
  '/doctor': ['doctor'],
  '/docs/api': ['api'],
  '/open/{target}/{port}': ['open-signed-out', 'page-refused'],
  '/ingress/sign-in': ['ingress-sign-in'],
  'a preview’s host': [
    'preview-signed-out',
    'preview-refused',
    'preview-waiting',
    'preview-expired',
    'preview-withdrawn',
    'preview-stopped',
    'preview-unreachable',
    'preview-died',
    'preview-none',
  ],
};

test('no page is left out', async () => {
  const journeys = path.dirname(fileURLToPath(import.meta.url));
  const source = (...parts: string[]) => fs.readFileSync(path.join(journeys, '../..', ...parts), 'utf8');
  const routes = [...source('app/src/root.rs').matchAll(/<Route path=path!\("([^"]+)"\)/g)].map(([, route]) => route!);
  expect(routes.length).toBeGreaterThan(5);
  expect(routes.filter((route) => !(route in LOOKS)), 'pages of the app that no journey looks at').toEqual([]);
  const parts = [...source('app/src/pages/part.rs').matchAll(/path: "([^"]+)"/g)].map(([, part]) => part!);
  expect(parts.length).toBeGreaterThan(2);
  expect(parts.filter((part) => !OTHERS.includes(part)), 'parts of a project that no journey looks at').toEqual([]);
  const looked = fs
    .readdirSync(journeys)
    .flatMap((file) => [...fs.readFileSync(path.join(journeys, file), 'utf8').matchAll(/\binspect\(\w+, '([a-z-]+)'|, '([a-z-]+)'\],$/gm)])
    .map(([, name, listed]) => name ?? listed!);
  const all = new Set([...looked, ...OTHERS.map((name) => `project-${name}`)]);
  expect(Object.values(LOOKS).flat().filter((name) => !all.has(name)), 'looks that no journey takes').toEqual([]);
});

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

// There is no Ingress here; what leads to real ones is in o-ingress.
test('the page on the way to an Ingress host', ONE_MACHINE, async ({ ownServer, visitor }) => {
  const server = await ownServer({ env: { FSA_INGRESS_DOMAIN: 'apps.localhost' } });
  const page = await (await visitor({ server })).newPage();
  // It asks for the code by itself. An answer without content leaves it where it is.
  let asked = 0;
  await page.route(({ pathname }) => pathname === '/ingress/sign-in', async (route) => {
    if (route.request().method() !== 'POST') return await route.continue();
    asked += 1;
    await route.fulfill({ status: 204 });
  });
  const host = `http://${'harbour'.repeat(2)}-agentruntime-abc123.apps.localhost/boats?all=1`;
  await page.goto(`/ingress/sign-in?rd=${encodeURIComponent(host)}`, { waitUntil: 'commit' });
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Opening');
  await expect(page.getByRole('main')).toContainText(`Opening ${host}.`);
  await expect.poll(() => asked, 'it went on by itself').toBe(1);
  await expect(page.getByRole('button', { name: 'Go on' })).toBeVisible();
  await inspect(page, 'ingress-sign-in');
});

test('projects: none, some in several states, and as they were when the server went away', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/ERR_|Failed to fetch|NetworkError|network error/);
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

  // What is shown is said to be old, and how old it is, wherever one looks; and it is live again by itself.
  const note = page.locator('.link-note');
  await expect(note).toContainText('Live');
  await server.kill9();
  await expect(page.locator('.link-banner')).toContainText(/Reconnecting….*Showing the state as of \d\d:\d\d:\d\d/);
  await expect(note).toContainText(/As of \d\d:\d\d:\d\d/);
  await expect(note).not.toContainText('Live');
  await inspect(page, 'projects-away');
  await server.restart();
  await expect(note).toContainText('Live', { timeout: 30_000 });
  await expect(page.locator('.phase-pill')).toHaveCount(3);
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
  const list = await new ProjectsPage(await page.context().newPage()).open();
  const row = list.row(project.name);
  await expect(row.locator('.port-chip')).toHaveText(':3000');
  await inspectRare(list.page, 'projects', ['.phase-pill', '.button', '.port-chip'].map((part) => row.locator(part).first()));
  await list.page.close();
  await api.act(project.id, 'stop');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'stopped');
  await expect(workspace.previewPane.getByRole('heading', { name: 'Preview is asleep' })).toBeVisible();
  await expect(workspace.previewPane).toContainText('The sandbox is stopped. The preview opens when it runs and something listens on port 3000.');
  await inspect(page, 'workspace-stopped');
});

test('the other pages of a project', async ({ api, project, visitor }) => {
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { LOG_LEVEL: 'debug', lower_case: 'x', SESSION_SECRET: 'y'.repeat(500) } } });
  await api.output(project.id, 'mkdir -p src && echo "# Boats" > README.md');
  const page = await (await visitor()).newPage();
  for (const name of OTHERS) {
    await page.goto(`/projects/${project.id}/${name}`);
    await expect(page.getByRole('heading', { level: 1 }).first()).toBeVisible();
    await hydrated(page);
    if (name === 'files') await expect(page.getByRole('treeitem').filter({ hasText: 'README.md' })).toBeVisible();
    await inspect(page, `project-${name}`);
  }
});

// Holds the machine's own PostgreSQL back, which makes no databases on a cluster.
test('a start that takes its time shows each step, its time so far and its limit', ONE_MACHINE, async ({ ownServer, visitor }) => {
  const server = await ownServer({ args: ['--stage-deadlines', '75,900,30,20,45'] });
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
    await expect(database.locator('.stage-time')).toHaveText(/^\d+\.\d s of 75 s$/);
    await expect(stage('Environment Ready')).toHaveAttribute('data-state', 'waiting');
    await expect(stage('Environment Ready').locator('.stage-time')).toHaveText('45 s at most');
    await expect(page).toHaveTitle(/^(Creating|Starting) Slow harbour \(1 of 5\)/);
    await expect(page.getByText(/^Stage 1 of 5 · \d+\.\d s so far · usually under a second$/)).toBeVisible();
    const seconds = async () => Number.parseFloat((await database.locator('.stage-time').textContent())!);
    const before = await seconds();
    await expect.poll(seconds, { message: 'the time goes on' }).toBeGreaterThan(before + 0.5);
    const list = await new ProjectsPage(await (await visitor({ server })).newPage()).open();
    const note = list.row('Slow harbour').locator('.state-note');
    await expect(note).toHaveText('Database: starting');
    await expect(page.getByRole('link', { name: 'Logs and events' })).toHaveAttribute('href', `/projects/${project.id}/logs?source=events`);
    await inspect(page, 'creating');
    expect((await api.sandbox(project.id)).stages[0]).toMatchObject({ state: 'running', endedAt: null });
    // Another one is called off meanwhile.
    const unwanted = await api.create('Called off');
    const other = await new Workspace(await page.context().newPage()).open(unwanted.id);
    await other.page.getByRole('button', { name: 'Cancel start' }).click();
    await expect.poll(async () => (await api.sandbox(unwanted.id)).desired).toBe('stopped');
    await release();
    await expect(other.phase).toHaveAttribute('data-phase', 'stopped', { timeout: 30_000 });
    await other.page.close();
    await expect(workspace.phase).toHaveAttribute('data-phase', 'running', { timeout: 30_000 });
    await workspace.terminal().live();
    await expect(note).toHaveText('Database: ready');
    await expect(page.locator('.status-bar')).toContainText('Database: ready');
    await api.act(project.id, 'stop');
    await expect(note, 'it rests with its sandbox').toHaveText('Database: paused');
  } finally {
    await release();
  }
});

test('nothing moves while a page comes alive', ALONE, async ({ ownServer, visitor }) => {
  test.setTimeout(180_000);
  // Of its own: what others have left (tokens, sessions) would be measured, too.
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Still waters', { database: true });
  const page = await (await visitor({ server })).newPage();
  const at = `/projects/${project.id}`;
  // What comes late is waited for: it is what would move the rest.
  const late: Record<string, () => Promise<unknown>> = {
    [at]: () => new Workspace(page).terminal().prompt(),
    [`${at}/files`]: async () => {
      await expect(page.getByRole('treeitem').first()).toBeVisible();
      await expect(page.getByRole('region', { name: 'Repository' }).getByRole('status')).toContainText('This project has no repository');
    },
    '/settings': () => expect(page.locator('.sessions > li').first()).toBeVisible(),
    '/doctor': () => expect(page.getByRole('status')).not.toContainText('Looking', { timeout: 60_000 }),
  };
  const ofProject = ['', '/environment', '/database', '/files', '/activity', '/logs', '/settings'].map((path) => at + path);
  await api.output(project.id, 'echo "# Boats" > README.md');
  for (const path of ['/sign-in', '/', '/projects/new', ...ofProject, '/activity', '/settings', '/doctor']) {
    await page.goto(path);
    if (!['/sign-in', '/doctor'].includes(path)) await hydrated(page);
    await late[path]?.();
    expect.soft(await shifted(page), `what moved on ${path}`).toBeLessThan(0.005);
  }
});

// Writes into a log's file, and counts on the 300 ms that a page waits for what is asked of a sandbox.
test('a page without its scripts shows what there is, and they take it over where it stands', ONE_MACHINE, async ({ api, project, server, visitor, allowConsole }) => {
  // Without scripts, what they would use is loaded in vain.
  allowConsole(/preload/);
  await api.output(project.id, 'mkdir -p src && echo "# Boats" > README.md && touch part9.txt part10.txt');
  const at = `/projects/${project.id}`;
  // What is read of each page, in the order in which it stands there; and where its element would ask for it.
  const pages: [path: string, texts: string, says: RegExp, asks: string][] = [
    [`${at}/activity`, '.timeline li p:first-child', /Made the project/, `/api/projects/${project.id}/activity`],
    [`${at}/files`, '.file-tree .file-name', /README\.md/, `/api/sandbox/${project.id}/files`],
    [`${at}/database`, 'section[aria-labelledby=parts] dd, section[aria-labelledby=connect] code', /postgresql:/, `/api/projects/${project.id}/database`],
    ['/settings', 'fsa-claude h3, fsa-sessions h3', /this browser/, '/api/sessions'],
  ];
  const plain = await (await visitor({ scripts: false })).newPage();
  const page = await (await visitor()).newPage();
  for (const [path, texts, says, asks] of pages) {
    // A page waits for what is in it for 300 ms, which a busy machine may need for other things.
    await expect(async () => {
      await plain.goto(path);
      await expect(plain.locator(texts).filter({ hasText: says }).first(), path).toBeVisible({ timeout: 2_000 });
    }).toPass();
    const served = await plain.locator(texts).allInnerTexts();
    const asked: string[] = [];
    const note = (request: Request) => void (new URL(request.url()).pathname === asks && asked.push(request.url()));
    page.on('request', note);
    await page.goto(path);
    await hydrated(page);
    await expect(page.locator('script[data-first]'), `the scripts of ${path} took it over`).toHaveCount(0);
    expect(await page.locator(texts).allInnerTexts(), `the same on ${path} as without scripts`).toEqual(served);
    expect(asked, `what ${path} came with is not asked for`).toEqual([]);
    expect.soft(await shifted(page), `what moved on ${path}`).toBeLessThan(0.005);
    page.off('request', note);
  }
  await expect(async () => {
    await plain.goto(`${at}/database`);
    await expect(plain.locator('.figures')).toContainText(/Ready.*Size\s*[\d.]+ MB/s, { timeout: 2_000 });
  }).toPass();

  // What an agent seldom writes: more than fits, of which the end is seen.
  const lines = Array.from({ length: 200 }, (_, at) => `line ${at} of the log\n`).join('');
  const [sandbox, ...others] = foldersOf(server).sandboxes;
  expect(others).toEqual([]);
  fs.appendFileSync(path.join(server.dataDir, 'sandboxes', sandbox!, 'sandbox.log'), lines);
  await expect(async () => {
    await plain.goto(`${at}/logs`);
    await expect(plain.getByText('line 199 of the log')).toBeInViewport({ timeout: 2_000 });
  }).toPass();
  await page.goto(`${at}/logs`);
  await hydrated(page);
  await expect(page.locator('script[data-first]')).toHaveCount(0);
  await expect(page.getByText('line 199 of the log')).toBeInViewport();
  await expect(page.getByText('line 0 of the log')).toHaveCount(1);
  expect.soft(await shifted(page), 'what moved in the log').toBeLessThan(0.005);

  // Filtered, by the key of every search; also what comes meanwhile.
  const log = path.join(server.dataDir, 'sandboxes', sandbox!, 'sandbox.log');
  const filter = page.getByRole('searchbox', { name: 'Filter the lines' });
  const found = page.locator('.log-found');
  const heard = page.locator('fsa-log .visually-hidden[role=status]');
  await page.locator('#main').focus();
  await page.keyboard.press('/');
  await expect(filter).toBeFocused();
  await page.keyboard.type('LINE 19 of');
  await expect(found).toHaveText(/^1 of \d+ lines$/);
  await expect(heard).toHaveText(/^1 of \d+ lines$/);
  await expect(page.getByText('line 19 of the log')).toBeVisible();
  await expect(page.getByText('line 199 of the log')).toBeHidden();
  fs.appendFileSync(log, 'line 19 of another\nline 20 of another\n');
  await expect(found).toHaveText(/^2 of \d+ lines$/);
  await expect(heard, 'lines that come are not announced').toHaveText(/^1 of \d+ lines$/);
  await expect(page.getByText('line 20 of another')).toBeHidden();
  await inspect(page, 'log-filtered');
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()]);
  expect(download.suggestedFilename()).toBe('sandbox.log');
  expect(fs.readFileSync(await download.path(), 'utf8'), 'all of it').toContain('line 199 of the log\nline 19 of another\nline 20 of another\n');
  await filter.fill('');
  await expect(found).toBeEmpty();
  await expect(page.getByText('line 20 of another')).toBeVisible();
  // More than a page keeps.
  await expect(page.getByText('Earlier lines are not shown')).toHaveCount(0);
  fs.appendFileSync(log, Array.from({ length: 5_000 }, (_, at) => `later ${at}\n`).join(''));
  await expect(page.getByText('later 4999', { exact: true })).toBeInViewport({ timeout: 15_000 });
  await expect(page.getByText('line 20 of another')).toHaveCount(0);
  await expect(page.locator('.log-lines > div').first()).toHaveText('Earlier lines are not shown.');
});

test('a button that came with the page is pressed once its element is there', async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route(/\/activity[^/]*\.js$/, async (route) => {
    await held;
    await route.continue();
  });
  await page.goto(`/projects/${project.id}/activity`, { waitUntil: 'domcontentloaded' });
  await page.getByRole('button', { name: 'Phases' }).click();
  await expect(page.locator('.event').filter({ hasText: 'Made the project' })).toBeVisible();
  release();
  await hydrated(page);
  await expect(page.getByRole('button', { name: 'Phases' })).toHaveAttribute('aria-pressed', 'true');
  await expect(page.locator('.event').filter({ hasText: 'Made the project' })).toHaveCount(0);
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

// Breaks a folder; what breaks on a cluster is in n-cluster.
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
  // In the list it is the first, says the same, and is opened by its row.
  await api.running('Whole', { database: false });
  const list = await new ProjectsPage(await page.context().newPage()).open();
  await expect(list.page.locator('li.project-row')).toHaveText([/^Broken/, /^Whole/]);
  await expect(list.row('Broken').locator('.project-note')).toContainText(`${cause!.message} See what to do`);
  const { x, y, width, height } = (await list.row('Broken').boundingBox())!;
  await list.page.mouse.click(x + width / 2, y + height / 2);
  await expect(list.page).toHaveURL(new RegExp(`/projects/${project.id}$`));
  await list.page.close();
  // To what tells more, and there by a link of its own as well.
  await page.getByRole('link', { name: 'Logs and events' }).click();
  await expect(page).toHaveURL(new RegExp(`/projects/${project.id}/logs\\?source=events$`));
  await expect(page.getByLabel('Which log')).toHaveValue('events');
  await page.reload();
  await hydrated(page);
  await expect(page.getByLabel('Which log')).toHaveValue('events');
  fs.rmSync(home);
  fs.renameSync(`${home}.away`, home);
  await expect(workspace.phase, 'reconciling went on').toHaveAttribute('data-phase', 'running', { timeout: 60_000 });
});

test('keyboard alone: skip link, menus, dialogs, and out of the terminal', async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  const workspace = await new Workspace(page).open(project.id);
  await workspace.terminal().prompt();
  await workspace.terminal().focus();
  const typed = page.locator('#terminal-main .xterm-helper-textarea');
  await expect(typed).toBeFocused();
  await page.keyboard.press('Tab');
  await expect(typed, 'Tab is the terminal’s').toBeFocused();
  await page.keyboard.press('Control+Shift+Escape');
  await expect(page.getByRole('tab', { selected: true })).toBeFocused();
  const actions = page.getByRole('button', { name: 'Sandbox actions' });
  await actions.focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('menu', { name: 'Sandbox actions' })).toBeVisible();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Escape');
  await expect(page.getByRole('menu', { name: 'Sandbox actions' })).toBeHidden();
  await expect(actions).toBeFocused();
});
