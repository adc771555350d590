// Stop, start, terminate, delete: what stays, what goes, and that all of it goes.
import { execFileSync } from 'node:child_process';
import { ONE_MACHINE, onCluster, podOf } from '../support/cluster.ts';
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from '../support/fixtures.ts';
import { Workspace, hydrated } from '../support/pages.ts';
import { type Server, binary } from '../support/server.ts';
import { Terminal, plain } from '../support/terminal.ts';
import { until } from '../support/until.ts';
import { databasesOf, nothingLeft, runsOf, volumesOf } from '../support/world.ts';

test('stop and start keep files, rows and address', async ({ api, project, visitor, server }) => {
  await api.output(project.id, 'mkdir -p notes && echo kept > notes/one.txt');
  await api.output(project.id, 'psql -q -c "create table boats (name text)" -c "insert into boats values (\'Vinga\')"');
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running');

  await workspace.act('Stop');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'stopped');
  await until('nothing of the sandbox to run', () => runsOf(server).length === 0);
  await expect(workspace.page).toHaveTitle(/Stopped/);

  await workspace.act('Start');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running');
  expect(await api.output(project.id, 'cat notes/one.txt')).toBe('kept\n');
  expect(await api.output(project.id, 'psql -At -c "select name from boats"')).toBe('Vinga\n');
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('cat notes/one.txt');
  await terminal.sees(/^kept/m);
  expect((await api.sandbox(project.id)).name).toBe(project.sandbox.name);
});

test('a click ends no program that runs in a terminal before somebody says so', async ({ api, project, visitor, allowConsole }) => {
  allowConsole(/ERR_FAILED/);
  const page = await (await visitor()).newPage();
  const workspace = await new Workspace(page).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('sleep 600');
  const busy = async () => (await api.must<{ name: string; busy: boolean }[]>('GET', `/api/sandbox/${project.id}/terminals`)).filter((session) => session.busy).map(({ name }) => name);
  await until('the program to run', async () => (await busy()).join() === 'main');
  const { generation } = await api.sandbox(project.id);
  const question = page.getByRole('alertdialog', { name: 'Restart the sandbox?' });
  const actions = page.getByRole('button', { name: 'Sandbox actions' });

  // By the menu of its page: Escape leaves it be, and leads back to the menu.
  await workspace.act('Restart');
  await expect(question).toContainText('A program runs in the terminal “main”. It would end; files stay.');
  await expect(question.getByRole('button', { name: 'Keep it running' })).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(question).toHaveCount(0);
  await expect(actions).toBeFocused();
  await expect(page.getByRole('menu', { name: 'Sandbox actions' })).toBeHidden();

  // By the list of projects, the switcher of sandboxes, and the buttons of other pages.
  await page.goto('/');
  await hydrated(page);
  await page.getByRole('button', { name: `More actions for ${project.name}`, exact: true }).click();
  await page.getByRole('menuitem', { name: /^Restart/ }).click();
  await question.getByRole('button', { name: 'Keep it running' }).click();
  await page.goto(`/projects/${project.id}/settings`);
  await hydrated(page);
  const stop = page.locator('#danger [data-verb=Stop]');
  for (const press of [
    async () => {
      await page.getByRole('button', { name: 'Sandboxes' }).click();
      await page.getByRole('button', { name: 'Stop Main sandbox' }).click();
    },
    async () => {
      await page.keyboard.press('Escape');
      await page.locator('#danger').getByRole('button', { name: 'Stop', exact: true }).click();
      await expect(stop, 'it waits for the answer').toHaveAttribute('aria-busy', 'true');
    },
  ]) {
    await press();
    await page.getByRole('alertdialog', { name: 'Stop the sandbox?' }).getByRole('button', { name: 'Keep it running' }).click();
    await expect(page.getByRole('alertdialog')).toHaveCount(0);
  }
  await expect(stop).not.toHaveAttribute('aria-busy');
  await page.getByRole('radio', { name: /^Small/ }).check();
  await page.getByRole('button', { name: 'Change size and restart' }).click();
  await page.getByRole('alertdialog', { name: 'Resize the sandbox?' }).getByRole('button', { name: 'Keep it running' }).click();
  await expect(page.getByRole('alertdialog')).toHaveCount(0);
  expect((await api.sandbox(project.id)).generation, 'nothing was asked for').toBe(generation);
  expect(await busy(), 'it goes on').toEqual(['main']);

  // And it ends when that is the answer.
  await workspace.open(project.id);
  await workspace.act('Restart');
  await question.getByRole('button', { name: 'Restart the sandbox' }).click();
  await until('the restart', async () => {
    const now = await api.sandbox(project.id);
    return now.generation > generation && now.phase === 'Running' && (await busy()).length === 0;
  }, 30_000);

  // Where nobody says what runs, what is asked for is done.
  await workspace.open(project.id);
  await (await workspace.terminal().prompt()).enter('sleep 600');
  await until('the program to run', async () => (await busy()).join() === 'main');
  await page.route('**/terminals', (route) => route.abort());
  await workspace.act('Stop');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'stopped');
  await expect(page.getByRole('alertdialog')).toHaveCount(0);
});

test('restart applies changed variables, and says before that they wait', async ({ api, project, visitor }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { GREETING: 'hej hej', lower_case: 'ok' } } });
  expect((await api.sandbox(project.id)).restartPending).toBe(true);
  expect(await api.output(project.id, 'echo "[${GREETING-}]"'), 'not before a restart').toBe('[]\n');
  const told = await api.must('GET', `/api/projects/${project.id}/env`);
  expect(JSON.stringify(told), 'values are write-only').not.toContain('hej hej');
  expect(told.variables.find(({ key }: { key: string }) => key === 'GREETING')).toMatchObject({ source: 'project', pending: true, bytes: 7 });

  const { generation } = await api.sandbox(project.id);
  await api.act(project.id, 'restart');
  await until('the new run', async () => {
    const sandbox = await api.sandbox(project.id);
    return sandbox.generation > generation && sandbox.phase === 'Running' && !sandbox.restartPending;
  });
  expect(await api.output(project.id, 'echo "[$GREETING][$lower_case]"')).toBe('[hej hej][ok]\n');
  await expect(workspace.phase).toHaveAttribute('data-phase', 'running');
});

test('a new size is a new run of what is up, and changed variables go on waiting', async ({ api, project, visitor }) => {
  await api.output(project.id, 'echo kept > kept.txt');
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { GREETING: 'hej' } } });
  const before = onCluster ? podOf(project.sandbox.name) : undefined;
  const changed = await api.must('PATCH', `/api/projects/${project.id}`, { body: { preset: 'small' } });
  expect(changed.sandbox).toMatchObject({ phase: 'Updating', restartPending: true });
  await api.reaches(project.id, 'Running');
  expect(await api.output(project.id, 'cat kept.txt; echo "[${GREETING-}]"')).toBe('kept\n[]\n');
  if (before !== undefined) {
    const after = podOf(project.sandbox.name);
    expect([before.memory, after.memory], 'what the pod may have').toEqual(['2Gi', '256Mi']);
    expect(after.uid, 'another pod').not.toBe(before.uid);
  }

  const page = await (await visitor()).newPage();
  await page.goto(`/projects/${project.id}/settings`);
  await hydrated(page);
  const change = page.getByRole('button', { name: 'Change size and restart' });
  await expect(change, 'it is of that size').toBeDisabled();
  await page.getByRole('radio', { name: /^Medium/ }).check();
  await change.click();
  await expect(page.getByText('Size is Medium')).toBeVisible();
  await expect(change).toBeDisabled();
  await until('the new run', async () => {
    const { generation, phase } = await api.sandbox(project.id);
    return generation > changed.sandbox.generation && phase === 'Running';
  }, 30_000);
  const titles = async () => {
    const { activity } = await api.must('GET', `/api/projects/${project.id}/activity`);
    return activity.map(({ title }: { title: string }) => title) as string[];
  };
  await expect.poll(titles).toEqual(expect.arrayContaining(['Changed the size from Small to Medium', 'Updating became Running']));

  await api.act(project.id, 'stop');
  await api.reaches(project.id, 'Stopped');
  const stopped = await api.must('PATCH', `/api/projects/${project.id}`, { body: { preset: 'small' } });
  expect(stopped.sandbox.phase, 'it waits for the next start').toBe('Stopped');
});

test('a new name is everywhere at once, one that is none is said at its field, and of many notices three stay for a while', async ({ api, project, visitor }) => {
  const context = await visitor();
  const [page, list] = [await context.newPage(), await context.newPage()];
  await list.goto('/');
  await page.goto(`/projects/${project.id}/settings`);
  await hydrated(page);
  const name = page.getByRole('textbox', { name: 'Project name' });
  await name.fill(' ');
  await page.getByRole('button', { name: 'Rename' }).click();
  await expect(name).toHaveAttribute('aria-invalid', 'true');
  const toasts = page.getByRole('status', { name: 'Notices' }).locator('.toast');
  for (const [at, wished] of ['One', 'Two', 'Three', 'Four'].entries()) {
    await name.fill(`Renamed ${wished}`);
    await name.press('Enter');
    await expect(page).toHaveTitle(new RegExp(`Renamed ${wished}`));
    await expect(list.getByRole('link', { name: `Renamed ${wished}`, exact: true })).toBeVisible();
    await expect(toasts).toHaveCount(Math.min(at + 1, 3));
    // They stay while the pointer is on one.
    if (at === 0) await toasts.first().hover();
  }
  await expect(name).not.toHaveAttribute('aria-invalid', 'true');
  expect((await api.project(project.id)).name).toBe('Renamed Four');
  for (const left of [2, 1, 0]) {
    await toasts.first().getByRole('button', { name: 'Dismiss: Renamed' }).click();
    await expect(toasts).toHaveCount(left);
  }

  // One leaves by itself after eight seconds and not before, by the page's own clock.
  await page.mouse.move(0, 0);
  await page.clock.install();
  await name.fill('Renamed Five');
  await name.press('Enter');
  await expect(toasts).toHaveCount(1);
  await page.clock.pauseAt(await page.evaluate(() => Date.now() + 1_000));
  await page.clock.fastForward(4_000);
  await expect(toasts).toHaveCount(1);
  await page.clock.fastForward(4_000);
  await expect(toasts).toHaveCount(0);
  await page.clock.resume();
  // Nor while the pointer rests on it, also where another was taken away under it.
  for (const [at, wished] of ['Six', 'Seven'].entries()) {
    await name.fill(`Renamed ${wished}`);
    await name.press('Enter');
    await expect(toasts).toHaveCount(at + 1);
    await toasts.last().hover();
  }
  await toasts.last().getByRole('button', { name: 'Dismiss: Renamed' }).click();
  await expect(toasts).toHaveCount(1);
  await toasts.first().hover();
  await page.clock.fastForward(9_000);
  await expect(toasts).toHaveCount(1);
  await page.mouse.move(0, 0);
  await page.clock.fastForward(1_000);
  await expect(toasts).toHaveCount(0);
});

test('terminate keeps files and rows, and a new start finds them', async ({ api, project, server, signedIn: page }) => {
  await api.output(project.id, 'echo kept > kept.txt && psql -q -c "create table kept (n int)" -c "insert into kept values (7)"');
  const answer = await api.ask('DELETE', `/api/sandbox/${project.id}`);
  expect(answer.status).toBe(202);
  expect(answer.body.projectId).toBe(project.id);
  await api.reaches(project.id, 'Terminated');
  await until('nothing of the sandbox to run', () => runsOf(server).length === 0);
  expect(volumesOf(server)).toHaveLength(1);
  expect(databasesOf(server).databases).toHaveLength(1);

  expect((await api.ask('POST', `/api/sandbox/${project.id}`, { body: { envVars: { ONCE: 'yes' } } })).status).toBe(202);
  await api.reaches(project.id, 'Running');
  expect(await api.output(project.id, 'cat kept.txt; echo $ONCE; psql -At -c "select n from kept"')).toBe('kept\nyes\n7\n');
  // A variable of this one run says that it came with a request, and is not changed on the page.
  await page.goto(`/projects/${project.id}/environment`);
  await hydrated(page);
  const once = page.getByRole('row').filter({ has: page.getByText('ONCE', { exact: true }) });
  await expect(once.getByRole('cell').filter({ hasText: 'Request' })).toBeVisible();
  await expect(once).toContainText('3 bytes');
  await expect(once).not.toContainText('waits for restart');
  await expect(once.getByRole('button')).toHaveCount(0);
});

test('delete asks for the name and leaves no process, folder, database or role', async ({ ownServer, visitor }) => {
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Gone tomorrow');
  const terminal = await Terminal.open(api, project.id);
  await terminal.prompt();
  // Something that would rather stay.
  terminal.type("trap '' TERM HUP INT; (trap '' TERM HUP; setsid sleep 1000 &) ; echo stub''born\r");
  await terminal.sees(/stubborn/);
  expect(databasesOf(server).databases).toHaveLength(1);
  expect(databasesOf(server).roles).toHaveLength(1);

  const workspace = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
  await workspace.openDelete();
  const dialog = workspace.page.getByRole('alertdialog').or(workspace.page.getByRole('dialog')).filter({ hasText: 'Gone tomorrow' });
  const confirm = dialog.getByRole('button', { name: /Delete everything/ });
  await dialog.getByRole('textbox').fill('Gone');
  await expect(confirm).toHaveAttribute('aria-disabled', 'true');
  await dialog.getByRole('textbox').fill('Gone tomorrow');
  await expect(confirm).not.toHaveAttribute('aria-disabled', 'true');
  await confirm.click();
  await expect(workspace.page).toHaveURL(`${server.origin}/`);
  await until('the project to be gone', async () => (await api.ask('GET', `/api/projects/${project.id}`)).status === 404);
  await nothingLeft(server);
  expect(await api.projects()).toEqual([]);
});

test('a change in one browser is seen in another, in the list and in the title', async ({ api, project, visitor }) => {
  const list = await (await visitor()).newPage();
  await list.goto('/');
  const row = list.getByRole('listitem').filter({ hasText: project.name });
  await expect(row.locator('.phase-pill')).toHaveAttribute('data-phase', 'running');
  await api.act(project.id, 'stop');
  await expect(row.locator('.phase-pill')).toHaveAttribute('data-phase', 'stopped');
  await api.act(project.id, 'start');
  await expect(row.locator('.phase-pill')).toHaveAttribute('data-phase', 'running');
});

// On a cluster neither ends sandboxes: they are the cluster's.
test('Ctrl-C ends sandboxes and the next start resumes them; SIGTERM leaves them, and so does --keep-running', ONE_MACHINE, async ({ ownServer }) => {
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Through restarts');
  await api.output(project.id, 'echo kept > file');
  const before = Terminal.open(api, project.id);
  const terminal = await before;
  await terminal.prompt();
  const session = terminal.hello!.session;

  expect(await server.stop(), 'SIGTERM ends it well').toEqual({ code: 0, signal: null });
  expect(runsOf(server).length, 'SIGTERM leaves the sandbox').toBeGreaterThan(0);
  await server.restart();
  await api.reaches(project.id, 'Running');
  await terminal.reconnect();
  expect(terminal.hello!.session, 'the same shell').toBe(session);

  expect(await server.interrupt(), 'Ctrl-C ends it well').toEqual({ code: 0, signal: null });
  await until('Ctrl-C to end every sandbox and PostgreSQL', () => server.processes().length === 0);
  server.options.args = ['--keep-running'];
  await server.restart();
  await api.reaches(project.id, 'Running');
  expect(await api.output(project.id, 'cat file')).toBe('kept\n');
  expect(fs.existsSync(server.dataDir)).toBe(true);

  const kept = await Terminal.open(api, project.id);
  await kept.prompt();
  const shell = kept.hello!.session;
  expect(shell, 'another shell than the one that ended').not.toBe(session);
  expect(await server.interrupt(), 'Ctrl-C ends it well').toEqual({ code: 0, signal: null });
  expect(runsOf(server).length, '--keep-running leaves the sandbox').toBeGreaterThan(0);
  await server.restart();
  await api.reaches(project.id, 'Running');
  await kept.reconnect();
  expect(kept.hello!.session, 'the same shell').toBe(shell);
});

/** `systemctl stop fullstack-agent && fullstack-agent down`. */
async function endAll(server: Server): Promise<void> {
  expect(await server.stop()).toEqual({ code: 0, signal: null });
  await server.down();
  await until('nothing of the data folder to run', () => server.processes().length === 0);
}

// Its section on one machine; volumes of a cluster have backups of their own.
test('a backup by docs/operations.md is restored: files, rows, variables, tokens, and what ran runs', ONE_MACHINE, async ({ ownServer }) => {
  test.setTimeout(240_000);
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Kept', { database: true, env: { GREETING: 'hej hej' } });
  await api.output(project.id, 'mkdir -p notes && echo kept > notes/one.txt');
  await api.output(project.id, 'psql -q -c "create table boats (name text)" -c "insert into boats values (\'Vinga\')"');
  const token = await server.token('read', 'before the backup');
  const byToken = async () => (await api.ask('GET', `/api/projects/${project.id}`, { headers: { authorization: `Bearer ${token}` } })).status;
  expect(await byToken()).toBe(200);

  const [parent, name] = [path.dirname(server.dataDir), path.basename(server.dataDir)];
  const backup = path.join(server.root, 'backup.tar.gz');
  const tar = (what: string, ...names: string[]) => execFileSync('tar', [what, '--gzip', '--file', backup, '--numeric-owner', '--acls', '--xattrs', '-C', parent, ...names], { stdio: 'pipe' });
  await endAll(server);
  tar('--create', name);
  await server.restart();
  await api.reaches(project.id, 'Running', 60_000);
  expect(await api.output(project.id, 'cat notes/one.txt'), 'what ran starts again').toBe('kept\n');

  // What happens after a backup is not in it.
  await api.output(project.id, 'echo later > later.txt && echo changed > notes/one.txt');
  await api.output(project.id, 'psql -q -c "insert into boats values (\'Later\')"');
  await api.must('PUT', `/api/projects/${project.id}/env`, { body: { set: { GREETING: 'later' } } });
  await server.command('token', 'revoke', await server.tokenId('before the backup'));
  expect(await byToken()).toBe(401);
  await api.running('After the backup');

  await endAll(server);
  fs.renameSync(server.dataDir, `${server.dataDir}.old`);
  tar('--extract');
  await server.restart();
  await api.reaches(project.id, 'Running', 60_000);
  expect(await api.output(project.id, 'cat notes/one.txt; ls -A later.txt 2>/dev/null || echo none')).toBe('kept\nnone\n');
  expect(await api.output(project.id, 'psql -At -c "select name from boats"')).toBe('Vinga\n');
  expect(await api.output(project.id, 'printf %s "$GREETING"')).toBe('hej hej');
  expect((await api.sandbox(project.id)).restartPending).toBe(false);
  expect(await byToken(), 'the token is there as it was').toBe(200);
  expect((await api.projects()).map(({ name }) => name)).toEqual(['Kept']);
});

test('an upgrade puts another file in place: sandboxes run on, and a terminal goes on from its byte', async ({ ownServer }) => {
  test.setTimeout(120_000);
  const server = await ownServer({ copied: true });
  const api = await server.api();
  const project = await api.running('Upgraded');
  const terminal = await Terminal.open(api, project.id);
  await terminal.prompt();
  const { session } = terminal.hello!;
  terminal.type('for i in $(seq 100000); do echo tick-$i; sleep 0.1; done\r');
  await terminal.sees(/^tick-5\n/m);
  const ticks = () => [...plain(terminal.text()).matchAll(/^tick-(\d+)\n/gm)].map(([, n]) => Number(n));
  const file = () => fs.readlinkSync(`/proc/${server.pid}/exe`);
  const program = fs.realpathSync(server.program);
  expect(file()).toBe(program);

  // As `install` does: another file of that name, while the old one runs.
  fs.copyFileSync(binary(), `${server.program}.new`);
  fs.renameSync(`${server.program}.new`, server.program);
  expect(file(), 'what runs keeps its own').toBe(`${program} (deleted)`);
  expect(await server.stop()).toEqual({ code: 0, signal: null });
  expect(runsOf(server).length, 'the sandbox runs on').toBeGreaterThan(0);
  await server.restart();
  expect(file()).toBe(program);
  await api.reaches(project.id, 'Running');
  const before = ticks().at(-1)!;
  await terminal.reconnect();
  expect(terminal.hello!.session, 'the same shell').toBe(session);
  await terminal.sees(new RegExp(`^tick-${before + 20}\\n`, 'm'));
  expect(terminal.faults).toEqual([]);
  expect(ticks(), 'every line once, in order').toEqual(ticks().map((_, at) => at + 1));
  terminal.type('\x03');

  // And what the new file starts, runs.
  await api.act(project.id, 'restart');
  await until('the new run', async () => {
    const sandbox = await api.sandbox(project.id);
    return sandbox.generation > project.sandbox.generation && sandbox.phase === 'Running';
  }, 30_000);
  expect(await api.output(project.id, 'echo here')).toBe('here\n');
  terminal.close();
});
