// What the pages do between the great journeys: choosing ports, tabs of terminals, questions before what
// cannot be taken back, and where the focus goes.
import { serve } from '../support/apps.ts';
import { ONE_MACHINE } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { NewProjectPage, ProjectsPage, SignInPage, Workspace, hydrated } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

test('another open port is loaded when it is chosen, and a restart keeps the choice', async ({ api, project, visitor }) => {
  await serve(api, project, 3000, 'First');
  await serve(api, project, 5000, 'Second');
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await expect(workspace.preview.getByRole('heading', { name: 'First' })).toBeVisible();
  // One that opens later is announced, and takes the place of none that is seen.
  await serve(api, project, 8080, 'Third');
  await expect(workspace.previewPane.getByRole('status').filter({ hasText: 'Port 8080 is open.' })).toBeAttached();
  await expect(workspace.preview.getByRole('heading', { name: 'First' })).toBeVisible();
  await workspace.previewPane.getByRole('button', { name: /choose another/ }).click();
  // Each with the process that has it.
  const { ports } = await api.sandbox(project.id);
  for (const open of [3000, 5000, 8080]) {
    const process = ports.find(({ port }) => port === open)?.process;
    expect(process).toMatch(/\w/);
    await expect(workspace.page.getByRole('menuitemradio', { name: `${open} ${process}` })).toBeVisible();
  }
  await workspace.page.getByRole('menuitemradio', { name: /5000/ }).click();
  await expect(workspace.preview.getByRole('heading', { name: 'Second' })).toBeVisible();
  await api.act(project.id, 'restart');
  await expect(workspace.previewPane).toContainText('Nothing listens on port 5000');
});

test('the preview as wide as a phone, for the session', async ({ api, project, visitor }) => {
  await serve(api, project, 3000, 'First');
  const context = await visitor();
  const workspace = await new Workspace(await context.newPage()).open(project.id);
  const { page, previewPane } = workspace;
  await expect(workspace.preview.getByRole('heading', { name: 'First' })).toBeVisible();
  const frame = previewPane.locator('iframe');
  const phone = previewPane.getByRole('button', { name: 'Phone width' });
  await expect(phone).toHaveAttribute('aria-pressed', 'false');
  const pane = (await previewPane.boundingBox())!;
  const asWideAs = async (width: () => number | Promise<number>) => {
    await expect(async () => {
      expect((await frame.boundingBox())!.width).toBeCloseTo(await width(), 0);
    }).toPass({ timeout: 15_000 });
  };
  await asWideAs(() => pane.width);
  const centred = async () => {
    await expect(async () => {
      const box = (await frame.boundingBox())!;
      expect(box.width).toBe(390);
      expect(Math.abs(box.x + box.width / 2 - (pane.x + pane.width / 2))).toBeLessThan(1);
    }).toPass({ timeout: 15_000 });
  };
  await phone.click();
  await expect(phone).toHaveAttribute('aria-pressed', 'true');
  await centred();
  await expect.poll(() => workspace.preview.locator('body').evaluate(() => innerWidth), 'as the app sees it').toBe(390);
  await inspect(page, 'preview-phone');
  await page.reload();
  await hydrated(page);
  await expect(phone).toHaveAttribute('aria-pressed', 'true');
  await expect(workspace.preview.getByRole('heading', { name: 'First' })).toBeVisible();
  await centred();
  // A narrow screen is as wide as it is.
  await page.setViewportSize({ width: 700, height: 800 });
  await page.getByRole('group', { name: 'Pane' }).getByRole('button', { name: /Preview/ }).click();
  await expect(frame).toBeVisible();
  await expect(phone).toBeHidden();
  await asWideAs(async () => (await previewPane.boundingBox())!.width);
  await page.setViewportSize({ width: 1440, height: 900 });
  await phone.click();
  await asWideAs(() => pane.width);
  // Another session begins without.
  const other = await new Workspace(await context.newPage()).open(project.id);
  await expect(other.previewPane.getByRole('button', { name: 'Phone width' })).toHaveAttribute('aria-pressed', 'false');
});

test('an address of the preview is typed and opened, and none of another host', async ({ api, project, visitor }) => {
  await serve(api, project, 3000, 'First');
  await serve(api, project, 5000, 'Second');
  const { preview: template } = (await api.sandbox(project.id)).urls;
  const origin = (port: number) => new URL(template!.replace('{port}', String(port))).origin;
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page, preview, previewPane } = workspace;
  const field = previewPane.getByRole('textbox', { name: 'Preview address' });
  const at = async (path: string) => await expect(preview.getByText(`at ${path}`, { exact: true })).toBeVisible();
  await at('/');
  await expect(field).toHaveValue(`${origin(3000)}/`);
  await field.fill('/boats?x=1');
  await field.press('Enter');
  await at('/boats?x=1');
  await expect(field).toHaveValue(`${origin(3000)}/boats?x=1`);
  await expect(field).toBeFocused();

  // There again, in the frame and in a tab.
  await preview.locator('body').evaluate((body) => body.setAttribute('data-before', ''));
  await previewPane.getByRole('button', { name: 'Reload preview' }).click();
  await expect(preview.locator('body:not([data-before])')).toBeVisible();
  await at('/boats?x=1');
  const opened = page.context().waitForEvent('page');
  await previewPane.getByRole('button', { name: /new tab/i }).click();
  const tab = await opened;
  await expect(tab).toHaveURL(`${origin(3000)}/boats?x=1`);
  await tab.close();

  await field.fill('/nowhere');
  await field.press('Escape');
  await expect(field).toHaveValue(`${origin(3000)}/boats?x=1`);
  for (const other of ['http://example.com/', '//example.com/', `${origin(5000)}/`, 'javascript:alert(1)']) {
    await field.fill(other);
    await expect(previewPane.getByRole('alert')).toHaveCount(0);
    await field.press('Enter');
    await expect(previewPane.getByRole('alert'), other).toContainText('This is no address of this preview.');
    await expect(field).toHaveAttribute('aria-invalid', 'true');
  }
  await inspect(page, 'preview-address');
  await at('/boats?x=1');
  await field.fill(`${origin(3000)}/fleet`);
  await field.press('Enter');
  await at('/fleet');
  await expect(previewPane.getByRole('alert')).toHaveCount(0);

  // What is shared is the preview, not the page in it.
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => void ((window as any).copied = text)));
  await field.fill('/half');
  await previewPane.getByRole('button', { name: 'Share preview' }).click();
  await previewPane.getByRole('button', { name: 'Copy address' }).click();
  await expect(previewPane.getByText('Address copied.')).toBeVisible();
  expect(await page.evaluate(() => (window as any).copied)).toBe(`${origin(3000)}/`);
  await page.keyboard.press('Escape');

  // Another port begins at its beginning.
  await previewPane.getByRole('button', { name: /choose another/ }).click();
  await page.getByRole('menuitemradio', { name: /5000/ }).click();
  await expect(preview.getByRole('heading', { name: 'Second' })).toBeVisible();
  await at('/');
  await expect(field).toHaveValue(`${origin(5000)}/`);
});

test('a preview that the browser does not find says which setting helps, and loads once it is found', async ({ api, project, visitor, allowConsole }) => {
  // Of the browser's own page about it as well.
  allowConsole(/ERR_/, /chrome-error/);
  await serve(api, project, 3000, 'First');
  const page = await (await visitor()).newPage();
  const preview = ({ hostname }: URL) => hostname.startsWith('3000--');
  await page.route(preview, (route) => route.abort('namenotresolved'));
  const workspace = await new Workspace(page).open(project.id);
  const note = workspace.previewPane.getByRole('alert');
  await expect(note).toContainText(`does not get to 3000--${project.sandbox.name}.`);
  await expect(note).toContainText('--preview-listen');
  await expect(note.getByRole('link')).toHaveCount(0);
  await inspect(page, 'preview-unfound');
  await page.unroute(preview);
  await expect(workspace.preview.getByRole('heading', { name: 'First' })).toBeVisible();
  await expect(note).toHaveCount(0);
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

test('what was typed before the page is alive is kept, and where it is refused its field says so', async ({ visitor, allowConsole }) => {
  allowConsole(/422/);
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

  const [address, branch, depth] = ['Address', 'Branch', 'Commits'].map((label) => page.getByLabel(label));
  await branch!.fill('a branch');
  await depth!.fill('0');
  for (const [field, why, instead] of [
    [address!, 'begins with https://', 'https://example.com/a/b'],
    [branch!, 'no name of a branch', ''],
    [depth!, 'from 1 to 1,000,000', ''],
  ] as const) {
    await form.create.click();
    await expect(field).toBeFocused();
    await expect(field).toHaveAttribute('aria-invalid', 'true');
    await expect(field).toHaveAccessibleDescription(new RegExp(why));
    await expect(page.getByRole('alert').filter({ hasText: why })).toBeVisible();
    await field.fill(instead);
    await expect(field).not.toHaveAttribute('aria-invalid');
    await expect(page.getByText(why)).toHaveCount(0);
  }
  await expect(form.name, 'all that was typed is kept').toHaveValue('Typed early');
  await expect(form.database).not.toBeChecked();
});

test('a page that cannot come alive says so, and does so when it is asked to try again', async ({ visitor, allowConsole }) => {
  allowConsole(/./);
  const page = await (await visitor()).newPage();
  const code = /\.wasm$/;
  await page.route(code, (route) => route.abort());
  await page.goto('/');
  const note = page.getByRole('alert').filter({ hasText: 'This page did not come alive' });
  await expect(note).toBeVisible({ timeout: 30_000 });
  await page.unroute(code);
  await note.getByRole('button', { name: 'Try again' }).click();
  await hydrated(page);
  await expect(note).toHaveCount(0);
});

test('parts of a page that fail for a moment come all the same', async ({ project, visitor, allowConsole }) => {
  allowConsole(/ERR_FAILED/, /preload/);
  const page = await (await visitor()).newPage();
  const failed = new Set<string>();
  // Each file once, by whatever folder it is asked for; of what several import, one.
  await page.route(/\/pkg\/.*\.(?:js|wasm)$/, async (route) => {
    const file = new URL(route.request().url()).pathname.split('/').at(-1)!.replace(/^terminal-chunk-.*/, 'shared');
    if (failed.has(file)) return await route.continue();
    failed.add(file);
    await route.abort();
  });
  const workspace = await new Workspace(page).open(project.id);
  await (await workspace.terminal().prompt()).enter('echo there-$((40+2))');
  await workspace.terminal().sees(/^there-42$/m);
  await page.keyboard.press('Control+k');
  await expect(page.getByRole('dialog', { name: 'Command palette' })).toBeVisible({ timeout: 30_000 });
  for (const part of [/^frontend\./, /\.wasm$/, /^elements\./, /^shared$/, /^terminal\./, /^terminal-palette-/]) {
    expect([...failed].some((file) => part.test(file)), `${part} failed once`).toBe(true);
  }
  await expect(page.getByRole('alert').filter({ hasText: /did not come alive|could not be loaded/ })).toHaveCount(0);
});

test('a terminal that does not load says so and is tried again; of an older page, it is to be reloaded', async ({ project, visitor, allowConsole }) => {
  allowConsole(/./);
  test.setTimeout(120_000);
  const page = await (await visitor()).newPage();
  const code = /\/terminal\.[0-9a-f]+\.js$/;
  await page.route(code, (route) => route.abort());
  await page.goto(`/projects/${project.id}`);
  await hydrated(page);
  const note = page.getByRole('alert').filter({ hasText: 'The terminal could not be loaded.' });
  await expect(note).toBeVisible({ timeout: 30_000 });
  await inspect(page, 'workspace-without-terminal');
  await page.unroute(code);
  await note.getByRole('button', { name: 'Try again' }).click();
  await new Workspace(page).terminal().prompt();
  await expect(note).toHaveCount(0);

  await page.route(code, (route) => route.fulfill({ status: 404, body: '' }));
  await page.reload();
  await hydrated(page);
  await expect(note).toContainText('The server was updated, and this page is of an older version.', { timeout: 30_000 });
  await page.unroute(code);
  await Promise.all([page.waitForEvent('load'), note.getByRole('button', { name: 'Reload' }).click()]);
  await hydrated(page);
  await new Workspace(page).terminal().prompt();
});

test('a key whose code does not come says that it did nothing, and does it when asked again', async ({ visitor, allowConsole }) => {
  allowConsole(/./);
  const page = await (await visitor()).newPage();
  const code = /\/terminal-palette-[^/]*\.js$/;
  await page.route(code, (route) => route.abort());
  await new ProjectsPage(page).open();
  await page.keyboard.press('?');
  const notice = page.locator('.toast').filter({ hasText: 'The list of shortcuts could not be loaded' });
  await expect(notice).toBeVisible({ timeout: 30_000 });
  await page.unroute(code);
  await notice.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByRole('dialog', { name: 'Keyboard shortcuts' })).toBeVisible();
  await expect(notice).toHaveCount(0);
});

test('terminating asks first, and keeps the sandbox on the safe answer', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  await page.getByRole('button', { name: 'Sandbox actions' }).click();
  await page.getByRole('menuitem', { name: /^Terminate/ }).click();
  const keep = page.getByRole('alertdialog').getByRole('button', { name: 'Keep the sandbox' });
  await expect(keep).toBeFocused();
  await inspect(page, 'terminate-dialog');
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
  await one.bringToFront();
  await inspect(one, 'projects-signed-out');
  await two.bringToFront();
  await two.goto('about:blank');
  await two.goto(await server.newSignInLink());
  await expect(new ProjectsPage(two).heading).toBeVisible();
  await expect(two.locator('.link-note')).toContainText('Live');
  await expect(one.locator('.link-note')).toContainText('Live');
  const project = await (await server.api()).create('Seen by both');
  for (const page of [one, two]) await expect(new ProjectsPage(page).row('Seen by both')).toBeVisible();
  await (await server.api()).remove(project.id);

  // Who signs in again from a page comes back to it.
  await one.goto('/settings#claude');
  await hydrated(one);
  await two.getByRole('button', { name: /Account/ }).click();
  await two.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(one.getByText('You are signed out.')).toBeVisible();
  await one.getByRole('link', { name: 'Sign in', exact: true }).click();
  await expect(one).toHaveURL(`${server.origin}/sign-in?next=%2Fsettings%23claude`);
  await one.getByRole('textbox').fill(await server.newSignInLink());
  await one.keyboard.press('Enter');
  await expect(one).toHaveURL(`${server.origin}/settings#claude`);
  await expect(one.getByRole('heading', { level: 1, name: 'Settings' })).toBeVisible();
});

test('a tab takes over from one that has the stream of events and says nothing', async ({ api, visitor }) => {
  test.setTimeout(120_000);
  const context = await visitor();
  const page = await context.newPage();
  await new ProjectsPage(page).open();
  await expect(page.locator('.link-note')).toContainText('Live');
  const name = await page.evaluate(async () => (await navigator.locks.query()).held?.find(({ name }) => name?.startsWith('fsa-live-'))?.name ?? '');
  expect(name).not.toBe('');
  // As a suspended tab does: it has the lock, and neither a stream nor an answer.
  const silent = await context.newPage();
  await silent.goto('/healthz');
  await silent.evaluate((name) => {
    const hold = () => new Promise(() => undefined);
    navigator.locks.request(name, { steal: true }, hold).catch(() => (document.title = 'Taken over'));
  }, name);
  await page.bringToFront();
  await expect(silent).toHaveTitle('Taken over', { timeout: 60_000 });
  const project = await api.create('Seen after that');
  await expect(new ProjectsPage(page).row('Seen after that')).toBeVisible();
  await api.remove(project.id);
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

test('projects are searched by keyboard and filtered by state, as it changes', async ({ ownServer, visitor }) => {
  const server = await ownServer();
  const api = await server.api();
  const market = await api.running('Night market');
  await api.running('Tidewater API');
  await api.act(market.id, 'stop');
  await api.reaches(market.id, 'Stopped');
  const page = await (await visitor({ server })).newPage();
  const list = await new ProjectsPage(page).open();
  await expect(page.locator('.link-note')).toContainText('Live');
  const names = page.locator('.project-name');
  const search = page.getByRole('searchbox', { name: 'Search projects' });
  const none = page.getByRole('heading', { name: 'No project matches' });
  await expect(names).toHaveCount(2);

  // The key leads into the field, and is a letter in it.
  await page.keyboard.press('/');
  await expect(search).toBeFocused();
  await expect(search).toHaveValue('');
  await page.keyboard.type('TIDE');
  await expect(names).toHaveText(['Tidewater API']);
  await search.fill('night-market');
  await expect(names, 'by what it is called in addresses').toHaveText(['Night market']);
  await page.keyboard.press('/');
  await expect(search).toHaveValue('night-market/');
  await expect(names).toHaveCount(0);
  await expect(none).toBeVisible();
  await inspect(page, 'projects-no-match');
  await page.getByRole('button', { name: 'Show all' }).click();
  await expect(names).toHaveCount(2);
  await expect(none).toHaveCount(0);
  await expect(search).toBeFocused();
  await expect(search).toHaveValue('');

  const filter = (name: RegExp) => page.getByRole('group', { name: 'Filter by state' }).getByRole('button', { name });
  await expect(filter(/^All/)).toHaveAttribute('aria-pressed', 'true');
  await filter(/^Stopped/).click();
  await expect(filter(/^Stopped/)).toHaveAttribute('aria-pressed', 'true');
  await expect(filter(/^All/)).toHaveAttribute('aria-pressed', 'false');
  await expect(filter(/^Stopped/)).toHaveText('Stopped 1');
  await expect(names).toHaveText(['Night market']);
  await filter(/^Running/).click();
  await expect(names).toHaveText(['Tidewater API']);
  await api.act(market.id, 'start');
  await expect(list.row('Night market'), 'nobody asked for the page again').toBeVisible();
  await expect(filter(/^Running/)).toHaveText('Running 2');
  await filter(/^Needs attention/).click();
  await expect(none).toBeVisible();
  await page.getByRole('button', { name: 'Show all' }).click();
  await expect(filter(/^All/)).toHaveAttribute('aria-pressed', 'true');

  const sort = page.getByLabel('Sort projects');
  await sort.selectOption('Name');
  await expect(names).toHaveText(['Night market', 'Tidewater API']);
  await sort.selectOption('Created');
  await expect(names).toHaveText(['Tidewater API', 'Night market']);
});

test('a link that is no code at all is refused in words', async ({ visitor }) => {
  const page = await (await visitor({ signedIn: false })).newPage();
  await page.goto('/sign-in#%zz');
  await new SignInPage(page).says('forged');
  await expect(page).not.toHaveURL(/#/);
});

// On a cluster there is no keeper; its logs are in n-cluster.
test('a log is chosen, read and followed', ONE_MACHINE, async ({ project, visitor }) => {
  const page = await (await visitor()).newPage();
  await page.goto(`/projects/${project.id}/logs`);
  await hydrated(page);
  await page.getByLabel('Which log').selectOption('keeper');
  await expect(page.locator('.log-lines')).toContainText(/keeping/i);
  const state = page.locator('fsa-log .state-note');
  await expect(state).toHaveText('Live');
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => void ((window as any).copied = text)));
  await page.getByRole('button', { name: 'Copy', exact: true }).click();
  await expect(state).toHaveText('Copied');
  expect(await page.evaluate(() => (window as any).copied)).toMatch(/keeping/i);
  // As over plain HTTP from another machine.
  await page.evaluate(() => void Object.defineProperty(navigator, 'clipboard', { value: undefined }));
  await page.getByRole('button', { name: 'Copy', exact: true }).click();
  await expect(state).toHaveText(/^Not copied/);
  // By its address: here the keeper is who tells what happened.
  await page.goto(`/projects/${project.id}/logs?source=events`);
  await hydrated(page);
  const which = page.getByLabel('Which log');
  await expect(which).toHaveValue('events');
  await expect(page.locator('.log-lines')).toContainText(/keeping/i);
  // The address goes with what is chosen, and what is shown with the address.
  await page.getByRole('link', { name: 'Logs' }).click();
  await expect(page).toHaveURL(/\/logs$/);
  await expect(which).toHaveValue('sandbox');
  await page.goBack();
  await expect(which).toHaveValue('events');
  // The machine's PostgreSQL is of all projects, and nothing prepares a run: their logs are there, and say that nothing is in them.
  for (const source of ['database', 'install', 'past']) {
    await which.selectOption(source);
    await expect(page.locator('.log-lines'), source).toHaveText('There is nothing in this log.');
  }
  await which.selectOption('keeper');
  await expect(page).toHaveURL(/\/logs\?source=keeper$/);
  await page.reload();
  await hydrated(page);
  await expect(which).toHaveValue('keeper');
});
