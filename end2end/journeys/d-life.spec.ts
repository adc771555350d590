// Stop, start, terminate, delete: what stays, what goes, and that all of it goes.
import { ONE_MACHINE } from '../support/cluster.ts';
import fs from 'node:fs';
import { expect, test } from '../support/fixtures.ts';
import { Workspace } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
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

test('terminate keeps files and rows, and a new start finds them', async ({ api, project, server }) => {
  await api.output(project.id, 'echo kept > kept.txt && psql -q -c "create table kept (n int)" -c "insert into kept values (7)"');
  const answer = await api.ask('DELETE', `/api/sandbox/${project.id}`);
  expect(answer.status).toBe(202);
  expect(answer.body.projectId).toBe(project.id);
  await api.reaches(project.id, 'Terminated');
  expect(runsOf(server)).toEqual([]);
  expect(volumesOf(server)).toHaveLength(1);
  expect(databasesOf(server).databases).toHaveLength(1);

  expect((await api.ask('POST', `/api/sandbox/${project.id}`, { body: { envVars: { ONCE: 'yes' } } })).status).toBe(202);
  await api.reaches(project.id, 'Running');
  expect(await api.output(project.id, 'cat kept.txt; echo $ONCE; psql -At -c "select n from kept"')).toBe('kept\nyes\n7\n');
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

test('Ctrl-C ends sandboxes and the next start resumes them; SIGTERM leaves them', ONE_MACHINE, async ({ ownServer }) => {
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
  await server.restart();
  await api.reaches(project.id, 'Running');
  expect(await api.output(project.id, 'cat file')).toBe('kept\n');
  expect(fs.existsSync(server.dataDir)).toBe(true);
});
