// What goes wrong on a machine: taken ports, folders that cannot be used, missing programs, a database that is away. What has the tag is
// about the machine of the server, its folders, ports, programs and disk; what makes sandboxes has no part in it, or is of that machine too.
import { ALONE } from '../support/alone.ts';
import { ONE_MACHINE } from '../support/cluster.ts';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { assertErrorShape } from '../support/api.ts';
import { expect, test } from '../support/fixtures.ts';
import { ProjectsPage } from '../support/pages.ts';
import { alive, processesOf } from '../support/processes.ts';
import { type Exit, Server, exited } from '../support/server.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';
import { addressOf, controlPlane, postgresPid, psql } from '../support/world.ts';

/** A start that must not succeed: how it ended and what it said. */
async function fails(server: Server): Promise<{ exit: Exit; said: string }> {
  const before = server.log.length;
  const said = () => server.log.slice(before);
  const child = server.spawn();
  const exit = await Promise.race([exited(child), until('the refused start to end', () => said().includes('Sign in:') && { code: 0, signal: null }, 30_000)]);
  if (server.running) await server.kill9();
  return { exit, said: said() };
}

/** A message for a person: an error, what to do, and no trace of a crash. */
function plainWords(said: string, about: RegExp): void {
  expect(said).toMatch(about);
  expect(said).not.toMatch(/panicked|RUST_BACKTRACE|stack backtrace|Os \{ code/);
}

test('a port that is taken is said with the port and another way', ONE_MACHINE, async () => {
  const server = await Server.prepare();
  const holder = http.createServer();
  await new Promise<void>((resolve) => holder.listen(server.port, '127.0.0.1', resolve));
  try {
    const { exit, said } = await fails(server);
    expect(exit.code).toBeGreaterThan(0);
    plainWords(said, new RegExp(`${server.port}[\\s\\S]*--listen|--listen[\\s\\S]*${server.port}`));
    expect(said).not.toContain('Sign in:');
  } finally {
    holder.close();
    expect(await server.destroy()).toEqual([]);
  }
});

test('a data folder in use is said with whom, and harms neither', ONE_MACHINE, async ({ server, api }) => {
  const clash = await Server.prepare({ dataDir: server.dataDir });
  const exit = await exited(clash.spawn());
  expect(exit.code).toBeGreaterThan(0);
  plainWords(clash.log, /in use/);
  expect(clash.log).toContain(String(server.pid));
  expect(clash.log).toContain('--data-dir');
  expect((await api.ask('GET', '/readyz')).status).toBe(200);
  await clash.destroy();
});

test('a data folder that is a file, or of another user, is said', ONE_MACHINE, async () => {
  const file = await Server.prepare();
  fs.writeFileSync(file.dataDir, 'not a folder');
  const one = await fails(file);
  expect(one.exit.code).toBeGreaterThan(0);
  plainWords(one.said, /not a folder[\s\S]*--data-dir/);
  fs.rmSync(file.root, { recursive: true });

  test.skip(process.getuid?.() !== 0, 'only root can give a folder to another user');
  const theirs = await Server.prepare();
  fs.mkdirSync(theirs.dataDir);
  fs.chownSync(theirs.dataDir, 65534, 65534);
  const two = await fails(theirs);
  expect(two.exit.code).toBeGreaterThan(0);
  plainWords(two.said, /belongs to[\s\S]*--data-dir/);
  fs.rmSync(theirs.root, { recursive: true });
});

test('a data folder that cannot be written is said', ONE_MACHINE, async () => {
  // Root writes through modes; below /proc nobody makes a folder.
  const server = await Server.prepare({ dataDir: '/proc/fullstack-agent' });
  const exit = await exited(server.spawn());
  expect(exit.code).toBeGreaterThan(0);
  plainWords(server.log, /data folder[\s\S]*--data-dir/);
  await server.destroy();
});

test('wrong settings stop the start with what is right', ONE_MACHINE, async () => {
  for (const [args, about] of [
    [['--listen', 'nonsense'], /listen/],
    [['--public-url', 'not a url'], /public-url/],
    [['--log-format', 'loud'], /text|json/],
    [['--no-such-flag'], /no-such-flag/],
  ] as const) {
    const server = await Server.prepare({ args: [...args] });
    const { exit, said } = await fails(server);
    expect(exit.code, args.join(' ')).toBeGreaterThan(0);
    plainWords(said, about);
    fs.rmSync(server.root, { recursive: true });
  }
});

test('without bubblewrap it says how to get it, and no sandbox starts unisolated', ONE_MACHINE, async () => {
  const env: Record<string, string> = {};
  const without = await Server.prepare({ env });
  const bin = path.join(without.root, 'bin');
  env['PATH'] = bin;
  fs.mkdirSync(bin);
  for (const folder of ['/usr/bin', '/bin', '/usr/sbin', '/sbin']) {
    for (const name of fs.readdirSync(folder)) {
      const place = path.join(bin, name);
      const there = fs.lstatSync(place, { throwIfNoEntry: false });
      if (name !== 'bwrap' && !there) fs.symlinkSync(path.join(folder, name), place);
    }
  }
  try {
    const child = without.spawn();
    const ended = exited(child);
    const outcome = await Promise.race([ended.then(() => 'ended'), until('it to be up', () => /Sign in:/.test(without.log) && 'up', 30_000)]);
    if (outcome === 'up') {
      // It may come up and say so on the project: then nothing runs there.
      await until('readiness', async () => (await fetch(`http://127.0.0.1:${without.port}/healthz`)).ok);
      const api = await without.api();
      const project = await api.create('Unisolated');
      const sandbox = await api.reaches(project.id, 'Error');
      expect(sandbox.cause!.code).toBe('isolation-missing');
      expect(`${sandbox.cause!.message} ${sandbox.cause!.nextSteps.join(' ')}`).toMatch(/bubblewrap/);
      await without.kill9();
    } else {
      expect((await ended).code).toBeGreaterThan(0);
    }
    plainWords(without.log, /bubblewrap/);
    expect(without.log).toMatch(/apt|install|--insecure-no-isolation/);

    // Who goes on without is told on every page what that means, signed in or not.
    without.options.args = ['--insecure-no-isolation'];
    await without.restart();
    const api = await without.api();
    const [project] = await api.projects();
    await api.reaches(project!.id, 'Running', 60_000);
    const shown = /role="note"[\s\S]{0,600}No isolation: sandboxes run as plain processes of this machine/;
    for (const at of ['/', '/projects/new', '/activity', '/settings', '/doctor', '/docs/api', `/projects/${project!.id}`, `/projects/${project!.id}/logs`]) {
      expect((await api.ask('GET', at, { headers: { accept: 'text/html' } })).text, at).toMatch(shown);
    }
    expect((await api.ask('GET', '/sign-in', { headers: { accept: 'text/html', authorization: undefined } })).text).toMatch(shown);
    await without.kill9();
  } finally {
    await without.destroy();
  }
});

test('PostgreSQL away later: 503 with words, sandboxes go on, healthy again by itself', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/status of 5\d\d|ERR_|WebSocket|Failed to fetch/);
  const server = await ownServer();
  server.allow(/./);
  const api = await server.api();
  const project = await api.running('Rows away');
  const terminal = await Terminal.open(api, project.id);
  await terminal.prompt();
  const page = await (await visitor({ server })).newPage();
  await new ProjectsPage(page).open();
  const pid = postgresPid(server);
  const all = (signal: NodeJS.Signals) => processesOf(path.join(server.dataDir, 'postgres')).forEach((one) => process.kill(one.pid, signal));
  all('SIGSTOP');
  try {
    await until('readyz to say so', async () => (await api.ask('GET', '/readyz')).status === 503, 20_000);
    const answer = await api.ask('GET', '/api/projects');
    if (answer.status !== 200) {
      expect(answer.status).toBe(503);
      assertErrorShape(answer);
    }
    expect((await api.ask('GET', '/healthz')).status, 'it is alive').toBe(200);
  } finally {
    all('SIGCONT');
  }
  await until('readyz to be well again', async () => (await api.ask('GET', '/readyz')).status === 200, 30_000);

  // Now it is gone altogether, with all of its processes.
  process.kill(postgresPid(server), 'SIGKILL');
  await until('PostgreSQL to be started again', async () => {
    const now = postgresPid(server);
    return now !== pid && alive(now) && (await api.ask('GET', '/readyz')).status === 200;
  }, 60_000);
  expect((await api.projects()).map(({ id }) => id)).toEqual([project.id]);
  await api.reaches(project.id, 'Running');
  if (!terminal.live) await terminal.reconnect();
  expect(await terminal.run('echo shell-$((6*7))')).toContain('shell-42');
  await until('the project’s database', async () => (await terminal.run("psql -At -c 'select 6*7'")).includes('\n42\n'), 30_000);
  server.allow(/./);
});

test('a database from a newer version is refused and left as it is', ONE_MACHINE, async ({ ownServer }) => {
  const server = await ownServer();
  await server.stop();
  controlPlane(server, "INSERT INTO fullstack_agent_migrations (version, description, success, checksum, execution_time) VALUES (99999999999999, 'from the future', true, '\\x00', 0)");
  const { exit, said } = await fails(server);
  expect(exit.code).toBeGreaterThan(0);
  plainWords(said, /newer/);
  controlPlane(server, 'DELETE FROM fullstack_agent_migrations WHERE version = 99999999999999');
  server.unexpected();
  await server.restart();
});

test('a database that is somebody else’s is refused', ONE_MACHINE, async ({ ownServer }) => {
  const host = await ownServer();
  psql(host, 'CREATE DATABASE somebodys');
  psql(host, 'CREATE TABLE theirs (n int)', 'somebodys');
  const server = await Server.prepare({ env: { FSA_DATABASE_URL: addressOf(host, 'somebodys') } });
  try {
    const { exit, said } = await fails(server);
    expect(exit.code).toBeGreaterThan(0);
    plainWords(said, /not empty|somebodys|another program|migrations/i);
    expect(psql(host, "SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'", 'somebodys').trim()).toBe('theirs');
  } finally {
    await server.destroy();
  }
});

test('PostgreSQL away at the start is said', ONE_MACHINE, async () => {
  const server = await Server.prepare({ env: { FSA_DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none' } });
  try {
    const child = server.spawn();
    const outcome = await Promise.race([exited(child), until('a word about it', () => /database|PostgreSQL/i.test(server.log) && 'said', 30_000)]);
    if (outcome !== 'said') expect((outcome as Exit).code).toBeGreaterThan(0);
    plainWords(server.log, /PostgreSQL|database/i);
    expect(server.log).not.toContain('Sign in:');
    if (server.running) await server.kill9();
  } finally {
    await server.destroy();
  }
});

test('a home folder over its limit stands still with a cause, and goes on when there is room', ALONE, async ({ ownServer }) => {
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Over the limit', { database: false });
  const spare = Number(await api.output(project.id, 'df --output=avail --block-size=1 . | tail -n 1'));
  test.skip(spare < 16 * 2 ** 30, 'the disk of the home folder has less than 16 GiB to spare');
  const terminal = await Terminal.open(api, project.id);
  await terminal.prompt();
  // A command is run past the limit too.
  const tick = async () => (await api.exec(project.id, ['cat', 'tick'])).stdout;
  terminal.type('while sleep 0.1; do date +%s.%N > tick; done &\r');
  await until('it to tick', async () => (await tick()) !== '');
  terminal.type('fallocate -l 11G big; echo allo""cated\r');
  await terminal.sees(/^allocated/m);
  const sandbox = await until('a cause', async () => {
    const now = await api.sandbox(project.id);
    return now.cause?.code === 'disk-full' && now;
  }, 30_000);
  expect(`${sandbox.cause!.message} ${sandbox.cause!.nextSteps.join(' ')}`).toMatch(/GB|GiB|limit|full/i);
  const still = await tick();
  const since = performance.now();
  await until('two seconds to pass', () => performance.now() - since > 2_000, 3_000);
  expect(await tick(), 'what ran stands still').toBe(still);
  // As the cause says: a restart would stop everything again at once.
  const way = sandbox.cause!.nextSteps.join(' ');
  expect(way).toContain(`/api/sandbox/${project.id}/exec`);
  expect((await api.exec(project.id, ['rm', 'big'])).code).toBe(0);
  await until('it to go on', async () => (await tick()) !== still, 30_000);
  await until('the cause to be gone', async () => (await api.sandbox(project.id)).cause === null, 30_000);
  expect((await api.sandbox(project.id)).phase).toBe('Running');
  server.allow(/disk|over its limit/i);
});

test('a full disk loses nothing, says so, and mends itself when there is room', { ...ONE_MACHINE, ...ALONE }, async () => {
  test.skip(process.getuid?.() !== 0, 'only root can mount a small disk');
  test.setTimeout(150_000);
  const server = await Server.prepare();
  fs.mkdirSync(server.dataDir);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=400m', 'none', server.dataDir]);
  try {
    test.skip(mounted.status !== 0, 'this machine lets nobody mount');
    await server.restart();
    const api = await server.api();
    const project = await api.running('Before');
    await api.output(project.id, 'echo kept > kept; psql -q -c "create table kept (n int)" -c "insert into kept values (7)"');
    const filled = await api.exec(project.id, 'dd if=/dev/zero of=filler bs=1M 2>&1');
    expect(filled.stdout, 'the disk is full').toMatch(/No space left/);
    const told = async () => (await api.ask('GET', '/', { headers: { accept: 'text/html' } })).text.includes('The disk of the data folder is full');
    await until('every page to say so', told, 20_000);
    // Too much for what is left in pages that are there.
    const large = () => api.ask('PUT', `/api/projects/${project.id}/env`, { body: { set: { LARGE: 'v'.repeat(60_000) } } });
    const refused = await large();
    assertErrorShape(refused);
    expect([refused.status, refused.body.details.code]).toEqual([503, 'store-full']);
    expect(refused.body.details.message).toMatch(/MB are free/);
    expect(refused.body.details.nextSteps.join(' ')).toMatch(/Free some space/);
    expect((await api.exec(project.id, 'cat kept')).stdout, 'a command runs').toBe('kept\n');
    const answer = await api.ask('POST', '/api/projects', { body: { name: 'While full' } });
    if (answer.status === 201) {
      // There may be room for it after all, by what others let go of; else it says why it stands still, which may be only
      // that it does: rows are on that disk too.
      const steps = await until('a cause, unless it runs', async () => {
        const { phase, cause } = await api.sandbox(answer.body.id);
        return cause?.nextSteps ?? (phase === 'Running' && ['none']);
      }, 60_000);
      expect(steps.length).toBeGreaterThan(0);
    } else {
      assertErrorShape(answer);
      expect([answer.status, answer.body.details.code]).toEqual([503, 'store-full']);
    }
    expect((await api.ask('GET', '/healthz')).status).toBe(200);
    fs.rmSync(path.join(server.dataDir, 'volumes', volumeWith(server, 'filler'), 'home', 'filler'));
    await until('all to be well', async () => (await api.ask('GET', '/readyz')).status === 200, 60_000);
    await until('no page to say so any more', async () => !(await told()), 30_000);
    expect((await large()).status, 'without a restart').toBe(200);
    if (answer.status === 201) await api.reaches(answer.body.id, 'Running', 60_000);
    expect(await api.output(project.id, 'cat kept')).toBe('kept\n');
    await until('rows', async () => (await api.exec(project.id, 'psql -At -c "select n from kept"')).stdout === '7\n', 30_000);
    expect(server.log).not.toMatch(/panicked/);
  } finally {
    if (server.running) await server.kill9();
    await server.down().catch(() => undefined);
    await until('nothing to hold the disk', () => spawnSync('umount', [server.dataDir]).status === 0 || mounted.status !== 0, 10_000);
    await server.destroy();
  }
});

test('token and sign-in-link work beside a running server; revoked tokens do not', ONE_MACHINE, async ({ server, api }) => {
  expect(await server.newSignInLink()).toMatch(new RegExp(`^${server.origin}/sign-in#`));
  const token = await server.token('read', 'short-lived');
  const ask = () => api.ask('GET', '/api/projects', { headers: { authorization: `Bearer ${token}` } });
  expect((await ask()).status).toBe(200);
  const { stdout } = await server.command('token', 'list');
  expect(stdout).not.toContain(token);
  await server.command('token', 'revoke', await server.tokenId('short-lived'));
  expect((await ask()).status).toBe(401);
});

test('down beside a running server ends the server first, and everything with it', ONE_MACHINE, async ({ ownServer }) => {
  const other = await ownServer();
  await (await other.api()).running('Down beside');
  const { stderr } = await other.command('down');
  expect(stderr).toMatch(/Ended the server \(process \d+\), 1 sandbox and PostgreSQL/);
  expect(other.running, 'the server has ended').toBe(false);
  await until('nothing to be left', () => processesOf(other.dataDir).length === 0);
  const nothing = await other.command('down');
  expect(nothing.stderr).toMatch(/Nothing ran/);
});

test('down of a folder that is not there is an error', ONE_MACHINE, async ({ server }) => {
  const none = await Server.prepare({ dataDir: path.join(server.root, 'none') });
  await expect(none.command('down')).rejects.toThrow(/There is no data folder/);
  await none.destroy();
});

test('down ends everything of its data folder and nothing else', ONE_MACHINE, async ({ ownServer, server, api }) => {
  const other = await ownServer();
  const theirs = await other.api();
  await theirs.running('Down');
  const mine = await api.running('Up');
  await other.stop();
  expect(processesOf(other.dataDir).length).toBeGreaterThan(0);
  await other.down();
  await until('nothing to be left', () => processesOf(other.dataDir).length === 0);
  expect((await api.sandbox(mine.id)).phase).toBe('Running');
  expect(await api.output(mine.id, 'echo here')).toBe('here\n');
  expect((await api.ask('GET', '/readyz')).status).toBe(200);
  expect(processesOf(server.dataDir).length).toBeGreaterThan(0);
  await api.remove(mine.id);
});

/** The volume whose home folder has a file of that name. */
function volumeWith(server: Server, file: string): string {
  const volumes = path.join(server.dataDir, 'volumes');
  const found = fs.readdirSync(volumes).find((name) => fs.existsSync(path.join(volumes, name, 'home', file)));
  if (!found) throw new Error(`no volume has ${file}`);
  return found;
}
