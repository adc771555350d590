// The command palette, the keys of the whole page, two terminals, how usage went, the database's page, sessions, the
// doctor.
import type { Page } from '@playwright/test';
import { ALONE } from '../support/alone.ts';
import { fileOf, install } from '../support/apps.ts';
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { goBy } from '../support/keyboard.ts';
import { ProjectsPage, SignInPage, Workspace, hydrated } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

const palette = (page: Page) => page.getByRole('dialog', { name: 'Command palette' });
const chosen = (page: Page) => palette(page).getByRole('option', { selected: true });

test('the palette finds, goes and asks, and gives the focus back', async ({ api, project, visitor }) => {
  const page = await (await visitor()).newPage();
  const workspace = await new Workspace(page).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await terminal.type('echo half');

  // From inside a terminal: the shell sees nothing of the key.
  await page.keyboard.press('Control+k');
  const field = palette(page).getByRole('combobox', { name: 'Search projects and commands' });
  await expect(field).toBeFocused();
  await expect(chosen(page)).toHaveCount(1);
  await expect(field).toHaveAttribute('aria-activedescendant', (await chosen(page).getAttribute('id'))!);
  await expect(chosen(page), 'the first, also once the list is there').toHaveText(/Stop sandbox/);
  await page.keyboard.press('Tab');
  await expect(field, 'the focus stays in the dialog').toBeFocused();
  await page.keyboard.press('ArrowUp');
  await expect(chosen(page)).toHaveText(/Sign out/);
  await page.keyboard.press('ArrowDown');
  await expect(chosen(page)).toHaveText(/Stop sandbox/);
  await page.keyboard.type('nothing is called so');
  await expect(palette(page)).toContainText('Nothing is called so.');
  await expect(palette(page).getByRole('status')).toHaveText('0 results');
  await page.keyboard.press('Enter');
  await expect(palette(page), 'nothing to run').toBeVisible();
  await page.keyboard.press('Escape');
  await expect(palette(page)).toHaveCount(0);
  await page.keyboard.type(' done');
  await page.keyboard.press('Enter');
  await terminal.sees(/^half done$/m);

  // The question mark is the shell's here.
  await page.keyboard.type('echo what?');
  await expect(page.getByRole('dialog')).toHaveCount(0);
  await page.keyboard.press('Enter');
  await terminal.sees(/^what\?$/m);

  const run = async (words: string) => {
    await page.keyboard.press('Control+k');
    await expect(field).toBeFocused();
    await page.keyboard.type(words);
    await expect(chosen(page)).toHaveCount(1);
    await page.keyboard.press('Enter');
    await expect(palette(page)).toHaveCount(0);
  };
  await run('new terminal');
  await expect(page.getByRole('tab')).toHaveCount(2);
  // What the page has a control for, while it can be pressed.
  await workspace.terminal('shell-2').prompt();
  await run('close this terminal');
  await page.getByRole('alertdialog', { name: /^End/ }).getByRole('button', { name: 'End this shell' }).click();
  await expect(page.getByRole('tab')).toHaveCount(1);
  for (const words of ['close this terminal', 'reload preview']) {
    await page.keyboard.press('Control+k');
    await expect(field).toBeFocused();
    await page.keyboard.type(words);
    await expect(palette(page), `${words}: the first cannot be closed, and nothing listens`).toContainText('Nothing is called so.');
    await page.keyboard.press('Escape');
    await expect(palette(page)).toHaveCount(0);
  }
  await run('search the output');
  await expect(page.getByRole('textbox', { name: 'Search the output' })).toBeFocused();
  await page.keyboard.press('Escape');
  await run('share preview');
  await expect(page.getByRole('dialog', { name: 'Share preview' }).locator(':focus')).toHaveCount(1);
  await page.keyboard.press('Escape');
  await run('terminate');
  await page.getByRole('alertdialog', { name: /^Terminate/ }).getByRole('button', { name: 'Keep the sandbox' }).click();
  await run('delete');
  await page.getByRole('alertdialog', { name: /^Delete/ }).getByRole('button', { name: 'Keep the project' }).click();
  await expect(page.getByRole('alertdialog')).toHaveCount(0);
  await run('environment');
  await expect(page).toHaveURL(new RegExp(`/projects/${project.id}/environment$`));
  await expect(page.getByRole('heading', { level: 1, name: 'Environment' })).toBeVisible();
  await run('stop');
  await api.reaches(project.id, 'Stopped');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'stopped');
  await run('start');
  await api.reaches(project.id, 'Running');
  await run('theme');
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await page.reload();
  await expect(page.locator('html'), 'it is kept').toHaveAttribute('data-theme', 'dark');
  await hydrated(page);
  await run('all projects');
  await expect(new ProjectsPage(page).heading).toBeVisible();
  await run(project.name);
  await expect(page).toHaveURL(new RegExp(`/projects/${project.id}$`));

  await page.evaluate(() => delete document.documentElement.dataset['theme']);
  await page.keyboard.press('Control+k');
  await expect(palette(page).getByRole('option', { name: 'Account settings' })).toBeVisible();
  await inspect(page, 'palette');
});

test('the palette has extra sandboxes, to go to and to ask', async ({ api, project, signedIn: page }) => {
  const extra = await api.must<{ id: string }>('POST', `/api/projects/${project.id}/sandboxes`, { body: { branch: 'feature/x' } });
  await api.reaches(extra.id, 'Running');
  await new ProjectsPage(page).open();
  const run = async (words: string) => {
    await page.keyboard.press('Control+k');
    await expect(palette(page).getByRole('combobox')).toBeFocused();
    await page.keyboard.type(words);
    await expect(chosen(page)).toHaveCount(1);
    await page.keyboard.press('Enter');
    await expect(palette(page)).toHaveCount(0);
  };
  await page.keyboard.press('Control+k');
  await expect(palette(page).getByRole('combobox')).toBeFocused();
  await page.keyboard.type(project.name);
  await expect(palette(page).getByRole('option', { name: project.name })).toHaveText([new RegExp(`^${project.name}Running`), new RegExp(`^${project.name} / feature/xRunning`)]);
  await page.keyboard.press('Escape');
  await expect(palette(page)).toHaveCount(0);
  await run(`${project.name} feature`);
  await expect(page).toHaveURL(new RegExp(`/projects/${extra.id}$`));
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(`${project.name} / feature/x`);
  await run('stop');
  await api.reaches(extra.id, 'Stopped');
  expect((await api.sandbox(project.id)).phase).toBe('Running');
  await run(project.name);
  await expect(page).toHaveURL(new RegExp(`/projects/${project.id}$`));
});

test('the button of the palette names the key that opens it, on a Mac too', async ({ visitor }) => {
  const page = await (await visitor()).newPage();
  const button = page.getByRole('button', { name: /^Search and commands/ });
  const width = async () => (await button.boundingBox())!.width;
  await new ProjectsPage(page).open();
  await expect(button).toHaveText('Ctrl K');
  const before = await width();
  await page.addInitScript(() => void Object.defineProperty(navigator, 'platform', { value: 'MacIntel' }));
  await new ProjectsPage(page).open();
  await expect(button).toHaveText('⌘ K');
  await expect(button).toHaveAccessibleName('Search and commands, ⌘ K');
  expect(await width(), 'nothing moves').toBeCloseTo(before, 0);
  await page.keyboard.press('Control+k');
  await expect(palette(page)).toHaveCount(0);
  await page.keyboard.press('Meta+k');
  await expect(palette(page).getByRole('combobox')).toBeFocused();
  // A page that is moved to has its own button.
  await page.keyboard.type('account settings');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/settings$/);
  await expect(button).toHaveText('⌘ K');
});

test('single keys go to pages, and none of them works in a field', ALONE, async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  // A page that says that it is alive has its keys, however slowly their code came.
  await page.route(/\/elements[^/]*\.js$/, async (route) => {
    await new Promise((done) => setTimeout(done, 2_000));
    await route.continue();
  });
  await page.goto(`/projects/${project.id}/settings`);
  await hydrated(page);
  await page.keyboard.press('?');
  const list = page.getByRole('dialog', { name: 'Keyboard shortcuts' });
  await expect(list).toBeVisible();
  await expect(list).toContainText('Leave the terminal');
  await inspect(page, 'shortcuts');
  await page.keyboard.press('Escape');
  await expect(list).toHaveCount(0);
  for (const [key, path] of [['d', '/database'], ['e', '/environment'], ['a', '/activity'], ['l', '/logs'], ['f', '/files'], ['p', '#preview']] as const) {
    await goBy(page, key, new RegExp(`/projects/${project.id}${path}$`));
    // The focus is at the new page's beginning before the next key.
    await expect(page.locator('#main')).toBeFocused();
    if (key !== 'a') continue;
    const search = page.getByRole('searchbox', { name: 'Search activity' });
    await expect(search).toBeVisible();
    await page.keyboard.press('/');
    await expect(search).toBeFocused();
    await page.keyboard.press('/');
    await expect(search, 'inside it is a letter').toHaveValue('/');
    await page.locator('#main').focus();
  }
  await goBy(page, 't', new RegExp(`/projects/${project.id}$`));
  const terminal = await new Workspace(page).terminal().prompt();
  await until('the focus to be in the terminal', () => page.evaluate(() => document.activeElement?.className.includes('xterm') ?? false));
  await page.keyboard.type('gs ?/');
  await terminal.sees(/gs \?\//);
  await page.keyboard.press('Control+c');
  await page.keyboard.press('Control+Shift+Escape');
  await expect(page.getByRole('tab', { selected: true })).toBeFocused();
  // The last of them: a second key that comes too late is S by itself, which stops the sandbox.
  await goBy(page, 's', new RegExp(`/projects/${project.id}/settings$`));
  const name = page.getByRole('textbox', { name: 'Project name' });
  await name.focus();
  await page.keyboard.press('End');
  await page.keyboard.type('?gd');
  await expect(name).toHaveValue(/\?gd$/);
  await expect(page).toHaveURL(/settings$/);
  await expect(page.getByRole('dialog')).toHaveCount(0);

  // And not where they were turned off, as one does in the account's settings.
  await page.goto('/settings');
  await hydrated(page);
  const single = page.getByRole('switch', { name: 'Single-key shortcuts' });
  await expect(single).toBeChecked();
  await single.uncheck();
  await page.goto(`/projects/${project.id}/settings`);
  await hydrated(page);
  await page.locator('#main').focus();
  await page.keyboard.press('?');
  await page.keyboard.press('g');
  await page.keyboard.press('d');
  await expect(page.getByRole('dialog')).toHaveCount(0);
  await expect(page).toHaveURL(/settings$/);
});

test('two terminals side by side and below each other, by keyboard, and after a reload', async ({ api, project, visitor }) => {
  const page = await (await visitor()).newPage();
  const workspace = await new Workspace(page).open(project.id);
  await (await workspace.terminal().prompt()).focus();
  await page.keyboard.press('Control+Shift+5');
  const second = page.getByRole('region', { name: 'Second terminal' });
  await expect(second).toBeVisible();
  const other = await workspace.terminal('shell-2').prompt();
  await until('the focus in the second', () => page.evaluate(() => document.activeElement?.closest('.split-pane') !== null));
  await page.keyboard.type('echo in-the-$((1+1))nd');
  await page.keyboard.press('Enter');
  await other.sees(/^in-the-2nd$/m);
  await page.keyboard.press('Control+Shift+5');
  await expect(page.locator('#terminal-main .xterm-helper-textarea')).toBeFocused();
  await page.keyboard.type('echo in-the-$((0+1))st');
  await page.keyboard.press('Enter');
  await workspace.terminal().sees(/^in-the-1st$/m);
  expect(await other.text()).not.toContain('1st');
  const boxes = async () => {
    const [one, two] = [await page.locator('.terminals > .terminal:visible').boundingBox(), await second.boundingBox()];
    return { one: one!, two: two! };
  };
  const { one, two } = await boxes();
  expect(two.x).toBeGreaterThanOrEqual(one.x + one.width);
  expect(Math.abs(two.y - one.y)).toBeLessThan(2);
  await inspect(page, 'split');

  // Wider by the keyboard; below; kept.
  const line = page.getByRole('separator', { name: 'Size of the second terminal' });
  await line.focus();
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('ArrowLeft');
  await expect(line).toHaveAttribute('aria-valuenow', '54');
  await expect.poll(async () => (await boxes()).two.width).toBeGreaterThan(two.width);
  /** How many pixels the second is under the end of the first; less than none beside it. */
  const under = async () => {
    const { one, two } = await boxes();
    return two.y - one.y - one.height;
  };
  await second.getByRole('button', { name: 'Below' }).click();
  await expect.poll(under).toBeGreaterThan(-1);
  await page.reload();
  await hydrated(page);
  await expect(second).toBeVisible();
  await (await workspace.terminal('shell-2').live()).sees(/^in-the-2nd$/m);
  await expect.poll(under).toBeGreaterThan(-1);
  await expect(line).toHaveAttribute('aria-valuenow', '54');

  // Another session, from the list.
  const third = await Terminal.open(api, project.id, { session: 'third' });
  await third.prompt();
  await third.run('echo from-$((1+2))');
  await second.getByRole('combobox').focus();
  await expect(second.getByRole('combobox').locator('option', { hasText: 'third' })).toHaveCount(1);
  await second.getByRole('combobox').selectOption('third');
  await (await workspace.terminal('third').live()).sees(/from-3/);
  third.close();

  // A narrow page has one pane, and a wide one has both again.
  await page.setViewportSize({ width: 390, height: 844 });
  await expect(second).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Split', exact: true })).toBeHidden();
  await page.setViewportSize({ width: 1440, height: 900 });
  await expect(second).toBeVisible();
  await second.getByRole('button', { name: /Close the second terminal/ }).click();
  await expect(second).toHaveCount(0);
  expect((await api.must<{ name: string; exited: number | null }[]>('GET', `/api/sandbox/${project.id}/terminals`)).filter(({ name, exited }) => name === 'third' && exited === null)).toHaveLength(1);
  await page.reload();
  await hydrated(page);
  await workspace.terminal().live();
  await expect(second).toHaveCount(0);
});

test('the status bar shows how usage went, and keeps it over a reload', ALONE, async ({ api, project, visitor }) => {
  const page = await (await visitor()).newPage();
  const workspace = await new Workspace(page).open(project.id);
  await workspace.terminal().prompt();
  const cpu = page.getByRole('img', { name: /^CPU in the last/ });
  await expect(cpu).toBeVisible();
  await api.output(project.id, 'head -c 20000000 /dev/zero > filler; timeout 6 sh -c "while :; do :; done" || true');
  await expect(cpu).toHaveAccessibleName(/and (?:[2-9]\d|\d{3,})%$/);
  await expect(page.getByRole('img', { name: /^Memory in the last/ })).toHaveAccessibleName(/now \d.* [kM]B/);
  await expect(page.getByRole('img', { name: /^Disk in the last/ })).toHaveAccessibleName(/now [\d.]+ (MB|GB)/);
  const path = cpu.locator('path').first();
  const points = async () => ((await path.getAttribute('d')) ?? '').split('L').length;
  const before = await points();
  expect(before).toBeGreaterThan(2);
  await page.reload();
  await hydrated(page);
  await expect(cpu).toHaveAccessibleName(/and (?:[2-9]\d|\d{3,})%$/);
  expect(await points()).toBeGreaterThanOrEqual(before - 1);
});

test('the database: how it is reached and how it is, its password only when asked, and another one', async ({ api, project, visitor }) => {
  const page = await (await visitor()).newPage();
  await page.goto(`/projects/${project.id}/database`);
  await hydrated(page);
  const main = page.getByRole('main');
  await expect(main).toContainText('DATABASE_URL');
  await expect(main.locator('.figures')).toContainText('Ready');
  await expect(main.locator('.figures')).toContainText(/Size\s*[\d.]+ MB/);
  await expect(main.locator('.figures')).toContainText(/PostgreSQL\s*1\d/);
  const seen = await api.must<{ psql: string }>('GET', `/api/projects/${project.id}/database`);
  const revealed = async () => (await api.must<{ psql: string }>('POST', `/api/projects/${project.id}/database/reveal`, { body: {} })).psql;
  const psql = await revealed();
  const password = /:\/\/[^:]+:([^@]+)@/.exec(psql)![1]!;
  expect(seen.psql, 'nor by REST').toBe(psql.replace(password, '••••••••'));
  await expect(page.locator('body')).not.toContainText(password);
  expect(await page.content(), 'not even in the markup').not.toContain(password);
  await inspect(page, 'database');
  await page.getByRole('button', { name: 'Reveal the password' }).click();
  await expect(main).toContainText(password);
  await expect(page.getByRole('button', { name: 'Hide the password' })).toBeFocused();
  await page.getByRole('button', { name: 'Hide the password' }).click();
  await expect(main).not.toContainText(password);
  const again = await page.waitForResponse((answer) => new URL(answer.url()).pathname === `/api/projects/${project.id}/database`, { timeout: 20_000 });
  expect(await again.text(), 'nor what is asked again and again').not.toContain(password);
  // A copy has it without showing it, and is told as well.
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => void ((window as any).copied = text)));
  await page.getByRole('button', { name: 'Copy the connection string' }).click();
  await expect.poll(() => page.evaluate(() => (window as any).copied)).toBe(psql.slice('psql '.length));
  await expect(main).not.toContainText(password);

  // A program inside holds a connection: it is counted, and goes on.
  const holds = await Terminal.open(api, project.id, { session: 'holds' });
  await holds.prompt();
  holds.type("psql -c 'create table boats (id int)' && psql\r");
  await holds.sees(/=>/);
  await expect(main.locator('.figures')).toContainText(/Connections\s*1 of/, { timeout: 30_000 });

  await page.getByRole('button', { name: 'Reset password…' }).click();
  await expect(page.getByRole('alertdialog')).toBeVisible();
  await page.getByRole('button', { name: 'Keep the password' }).click();
  expect(await revealed()).toBe(psql);
  // By another client: the one that is shown is not shown any more, and a copy is of the present one.
  await page.getByRole('button', { name: 'Reveal the password' }).click();
  await expect(main).toContainText(password);
  await api.must('POST', `/api/projects/${project.id}/database/reset-password`, { body: {} });
  await expect(main).not.toContainText(password);
  const between = await revealed();
  expect(between).not.toBe(psql);
  await page.getByRole('button', { name: 'Copy the connection string' }).click();
  await expect.poll(() => page.evaluate(() => (window as any).copied)).toBe(between.slice('psql '.length));
  await page.getByRole('button', { name: 'Reset password…' }).click();
  await page.getByRole('button', { name: 'Reset the password', exact: true }).click();
  await expect(main).toContainText('The database has a new password.');
  await expect(page.getByRole('button', { name: 'Reset password…' })).toBeFocused();
  const fresh = await revealed();
  expect(fresh).not.toBe(psql);
  const as = async (line: string) => (await api.exec(project.id, `${line} -Atc 'select 6*7'`)).stdout.trim();
  expect(await as(fresh), 'the new one opens').toBe('42');
  expect(await as(psql), 'the old one does not').toBe('');
  holds.type('select 6*7;\r');
  await holds.sees(/42/);
  // What runs has the old one until it is restarted.
  await expect(main).toContainText('The sandbox still runs with what it was started with.');
  await inspect(page, 'database-reset');
  holds.close();
  // psql still runs.
  await page.getByRole('button', { name: 'Restart now' }).click();
  await expect(page.getByRole('alertdialog', { name: 'Restart the sandbox?' })).toContainText('A program runs in the terminal “holds”.');
  await page.getByRole('button', { name: 'Restart the sandbox' }).click();
  await expect(page.getByRole('button', { name: 'Restart now' })).toHaveCount(0);
  await api.reaches(project.id, 'Running');
  expect(await api.output(project.id, "psql -Atc 'select count(*) from boats'")).toBe('0\n');
  expect(await api.output(project.id, 'printf %s "$POSTGRES_URL"')).toBe(fresh.slice('psql '.length));
  await page.goto(`/projects/${project.id}/activity`);
  await hydrated(page);
  await expect(page.locator('.event').filter({ hasText: 'Reset the database’s password' })).toHaveCount(2);
  const told = await api.must('GET', `/api/projects/${project.id}/activity?search=Revealed`);
  const ways = told.activity.map(({ title, actor }: any) => [title, actor.via]);
  expect(ways.filter(([, via]: string[]) => via === 'browser'), 'shown twice and copied twice').toHaveLength(4);
  expect(ways).toContainEqual(['Revealed the database’s password', 'browser']);
});

test('the lines for Prisma are those that work', async ({ api, project, visitor }) => {
  test.setTimeout(240_000);
  const page = await (await visitor()).newPage();
  await page.goto(`/projects/${project.id}/database`);
  await hydrated(page);
  const lines = async (file: string) => (await page.getByRole('group', { name: `Lines for ${file}` }).textContent())!;
  expect(fileOf('prisma', 'prisma.config.ts')).toBe(`${await lines('prisma.config.ts')}\n`);
  const rest = (file: string, shown: string) => {
    expect(file.slice(0, shown.length)).toBe(shown);
    expect(file.slice(shown.length)).toMatch(/^\n\n/);
  };
  rest(fileOf('prisma', 'prisma/schema.prisma'), await lines('prisma/schema.prisma'));
  rest(fileOf('prisma', 'boats.mjs'), await lines('your app'));

  await install(api, project.id, 'prisma');
  const inApp = (line: string) => `cd prisma && export CHECKPOINT_DISABLE=1 PRISMA_SCHEMA_ENGINE_BINARY=./schema-engine.mjs && ${line}`;
  const said = (line: string) => api.output(project.id, inApp(line));
  const rows = () => api.output(project.id, `psql -Atc 'SELECT * FROM "Boat" ORDER BY id'`);
  const push = (await page.locator('.code-field', { hasText: 'prisma db push' }).locator('code').textContent())!;
  expect(await said(push)).toContain('Your database is now in sync with your Prisma schema.');
  expect(await said('node boats.mjs')).toBe('{"id":1,"name":"Kayak"}\n');
  expect(await rows()).toBe('1|Kayak\n');

  // A column more, and what is there stays.
  await said(`sed -i 's/^  name String$/&\\n  mast Int @default(1)/' prisma/schema.prisma`);
  expect(await said(push)).toContain('Your database is now in sync with your Prisma schema.');
  expect(await said('node boats.mjs')).toBe('{"id":2,"name":"Kayak","mast":1}\n');
  expect(await rows()).toBe('1|Kayak|1\n2|Kayak|1\n');

  // The command of which the page says that it is not for this database.
  await expect(page.getByText('prisma migrate dev makes a second database')).toBeVisible();
  const migrated = await api.exec(project.id, inApp('npx prisma migrate dev --name boats'));
  expect(migrated.stderr).toContain('permission denied to create database');
  expect(migrated.code).toBe(1);
});

test('sessions are listed and ended', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/status of 401/, /WebSocket/, /ERR_/);
  const server = await ownServer();
  const here = await (await visitor({ server })).newPage();
  const there = await (await visitor({ signedIn: false, server })).newPage();
  await there.goto(await server.newSignInLink());
  await expect(new ProjectsPage(there).heading).toBeVisible();
  await here.goto('/settings');
  await hydrated(here);
  const rows = here.locator('.sessions > li');
  await expect(rows).toHaveCount(2);
  await expect(rows.first()).toContainText('Chrome on Linux');
  await expect(rows.first()).toContainText('this browser');
  await expect(rows.nth(1)).toContainText(/Signed in/);
  await inspect(here, 'sessions');
  await rows.nth(1).getByRole('button', { name: /End/ }).click();
  await expect(rows).toHaveCount(1);
  await there.goto('/settings');
  await expect(new SignInPage(there).heading).toBeVisible();
  await here.reload();
  await expect(here.getByRole('heading', { level: 1, name: 'Settings' })).toBeVisible();
});

test('the doctor is a page of the product, found from the settings', async ({ signedIn }) => {
  test.setTimeout(180_000);
  await signedIn.goto('/settings');
  await hydrated(signedIn);
  await signedIn.getByRole('link', { name: 'Doctor' }).click();
  await expect(signedIn.getByRole('heading', { level: 1, name: 'Doctor' })).toBeVisible();
  await expect(signedIn.locator('.finding').first()).toBeVisible();
  await expect(signedIn.locator('link[rel=icon]')).toHaveAttribute('href', /svg/);
  await expect(signedIn.getByRole('link', { name: 'FullStack Agent, all projects' })).toBeVisible();
  await expect(signedIn.getByRole('status')).not.toContainText('Looking', { timeout: 60_000 });
  await inspect(signedIn, 'doctor');
  await signedIn.goto('/docs/api');
  await inspect(signedIn, 'api');
  // Its scripts may be on their way; once they are there, a second press would close what the first one opened.
  const field = palette(signedIn).getByRole('combobox');
  await expect(async () => {
    if (!(await field.isVisible())) await signedIn.keyboard.press('Control+k');
    await expect(field).toBeFocused({ timeout: 2_000 });
  }).toPass({ timeout: 30_000 });
  await signedIn.keyboard.type('all projects');
  await expect(chosen(signedIn)).toHaveText(/All projects/);
  await signedIn.keyboard.press('Enter');
  await expect(new ProjectsPage(signedIn).heading).toBeVisible();
});
