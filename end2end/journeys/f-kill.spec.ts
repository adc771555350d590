// kill -9 of the server: not one byte lost, nothing typed, nothing left over.
import { ALONE } from '../support/alone.ts';
import { kubectl, onCluster } from '../support/cluster.ts';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import type { Api, Project } from '../support/api.ts';
import { expect, test } from '../support/fixtures.ts';
import { Workspace } from '../support/pages.ts';
import type { Server } from '../support/server.ts';
import { Terminal, plain } from '../support/terminal.ts';
import { nextLook, until } from '../support/until.ts';
import { nothingLeft, runsOf } from '../support/world.ts';

/** 100 bytes a line, a thousand lines a second, and a word before and after. */
const LINES = 9_000;
const line = (n: number) => `${String(n).padStart(8, '0')} ${'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(3).slice(n % 7, (n % 7) + 89)}`;
const WRITER = `
const line = (n) => String(n).padStart(8, '0') + ' ' + 'abcdefghijklmnopqrstuvwxyz0123456789'.repeat(3).slice(n % 7, n % 7 + 89);
let n = 0, start = performance.now();
process.stdout.write('be' + 'gin\\n');
const tick = () => {
  const due = Math.min(${LINES}, Math.floor(performance.now() - start));
  let text = '';
  while (n < due) text += line(n++) + '\\n';
  process.stdout.write(text);
  if (n < ${LINES}) setTimeout(tick, 10); else process.stdout.write('e' + 'nd\\n');
};
tick();`;

test('kill -9 while 100 KB/s run, a transaction and a sleep are open: every byte once', ALONE, async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/ERR_|WebSocket|Failed to fetch|NetworkError|network error/);
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Unbroken');
  const open = async (session: string) => {
    const terminal = await Terminal.open(api, project.id, { session });
    await terminal.prompt();
    return terminal;
  };
  const writer = await open('writer');
  const psql = await open('psql');
  const sleeper = await open('sleeper');
  const idle = await open('idle');
  // A browser watches all the while, with a program that shows whatever is typed.
  const workspace = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
  await (await workspace.terminal().prompt()).enter(String.raw`printf '\033[c'; cat -v`);
  // The page's answer is typed before we type.
  await workspace.terminal().sees(/\^\[\[\?[\d;]+c/);
  await workspace.terminal().enter('watched');
  await workspace.terminal().sees(/watched\s+\S*watched/);

  psql.type('psql -q -X\r');
  await psql.sees(/[=#>] $/);
  psql.type('create table t (n int); begin; insert into t values (41), (42);\r');
  await psql.sees(/\*[>#] $/);
  sleeper.type("sleep 7; echo slept-$?-'well'\r");
  await sleeper.sees(/echo slept/);
  await api.output(project.id, 'cat > writer.js', { stdin: WRITER });
  const from = writer.end;
  writer.type('node writer.js\r');
  await writer.sees(/^begin$/m, from);
  await until('output to run', () => writer.end - from > 50_000);
  const typedBefore = idle.end;
  const screenBefore = plain(await workspace.terminal().text());
  const inside = runsOf(server).sort();

  await server.kill9();
  const away = performance.now();
  expect(runsOf(server).sort(), 'nothing of the sandbox ended').toEqual(expect.arrayContaining(inside));
  await until('five seconds to pass without a server', () => performance.now() - away > 5_000, 6_000);
  await server.restart();

  await Promise.all([writer, psql, sleeper, idle].map((terminal) => terminal.reconnect()));
  await writer.sees(/^end$/m, from, 30_000);
  for (const terminal of [writer, psql, sleeper, idle]) {
    expect(terminal.faults, terminal.session).toEqual([]);
    expect(terminal.skipped, terminal.session).toBe(0);
    expect(terminal.hello!.newSession, terminal.session).toBe(false);
  }
  const text = writer.from(from).toString('latin1');
  const got = text.slice(text.indexOf('begin\r\n') + 7, text.indexOf('end\r\n'));
  const expected = Array.from({ length: LINES }, (_, n) => `${line(n)}\r\n`).join('');
  const sha = (bytes: string) => createHash('sha256').update(bytes, 'latin1').digest('hex');
  expect(got.length).toBe(expected.length);
  expect(sha(got)).toBe(sha(expected));

  psql.type('commit;\r');
  await psql.sees(/commit;[\s\S]*=[>#] $/, 0, 10_000);
  expect(await api.output(project.id, 'psql -At -c "select sum(n) from t"'), 'the transaction was committed').toBe('83\n');
  await sleeper.sees(/^slept-0-well/m, 0, 15_000);

  expect(idle.end, 'nothing came, so nothing was typed').toBe(typedBefore);
  await workspace.terminal().live(30_000);
  await workspace.terminal().enter('and again');
  await workspace.terminal().sees(/and again\s+and again/);
  const screenAfter = await workspace.terminal().text();
  const junk = (text: string) => text.match(/\^\[/g)?.length ?? 0;
  expect(junk(screenAfter), `nothing was typed by the page:\n${screenBefore}\n---\n${screenAfter}`).toBe(junk(screenBefore));
});

test('while 10 MB run by unseen, what was skipped is said and the screen is right', ALONE, async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/ERR_|WebSocket|Failed to fetch|NetworkError|network error/);
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Long scroll');
  await api.output(project.id, 'cat > flood.sh', {
    stdin: `until [ -e go ]; do sleep 0.05; done
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "flood %08d %s\\n", i, "${'x'.repeat(86)}" }'
printf '\\033[2J\\033[H\\033[31mred\\033[0m plain \\033[1mbold\\033[0m\\n'
for i in $(seq 1 12); do echo "row $i of the last screen"; done
touch done
`,
  });
  const raw = await Terminal.open(api, project.id);
  await raw.prompt();
  const workspace = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('bash flood.sh');
  await terminal.sees(/bash flood\.sh/);
  await until('the raw viewer to see it too', () => plain(raw.text()).includes('bash flood.sh'));
  // Its home folder, past the server that is not there.
  const inside = (command: string) =>
    onCluster
      ? kubectl('exec', `deployment/${project.sandbox.name}`, '--', 'bash', '-c', command)
      : execFileSync('bash', ['-c', command], { cwd: server.home(), encoding: 'utf8' });
  await server.kill9();
  inside('touch go');
  await until('the flood to be over', () => inside('ls').split('\n').includes('done'), 60_000);
  await server.restart();

  await raw.reconnect();
  expect(raw.hello!.skipped, 'most of the 10 MB are gone, and said').toBeGreaterThan(5_000_000);
  await until('the repaint', () => raw.repaint !== undefined);
  expect(raw.faults).toEqual([]);
  const replayed = raw.hello!.replayUntil - raw.hello!.start;
  expect(replayed, 'at least 1 MiB is replayed').toBeGreaterThanOrEqual(1024 * 1024 - 64 * 1024);

  await terminal.live(30_000);
  const said = await terminal.sees(/… ([\d.]+) MB skipped/, 20_000);
  expect(Number(said[1])).toBeGreaterThan(5);
  const last = /red plain bold\s+(row \d+ of the last screen\s+){12}/;
  await terminal.sees(last);
  // The screen itself, not only the rows above it.
  const screen = await workspace.page.evaluate(() => {
    const { terminal } = (window as any).__terminals.main;
    const { active } = terminal.buffer;
    return Array.from({ length: terminal.rows }, (_, row) => active.getLine(active.baseY + row)?.translateToString(true) ?? '').join('\n');
  });
  expect(screen).toMatch(/^red plain bold\nrow 1 of the last screen\n(row \d+ of the last screen\n){11}/);
  await terminal.enter('echo alive-$((6*7))');
  await terminal.sees(/^alive-42/m);
});

test('the page says that it is away, holds what is typed, and sends it once', ALONE, async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/ERR_|WebSocket|Failed to fetch|NetworkError|network error/);
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Held');
  const workspace = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('n=0');
  await server.kill9();
  await until('the terminal to know', async () => (await terminal.state()) === 'reconnecting');
  await expect(workspace.page.getByText(/Reconnecting|reconnecting/).first()).toBeVisible();
  await terminal.enter('n=$((n+1)); echo count-$n-');
  // Over the page, once two seconds have passed; and on return how long it was, which goes by itself.
  const banner = workspace.page.locator('.link-banner');
  await expect(banner).toContainText(/Reconnecting….*Showing the state as of \d\d:\d\d:\d\d/);
  // It is told for four seconds: looked for before the server is there.
  const told = expect(banner).toContainText(/Reconnected after \d+ s\. Nothing was missed\./, { timeout: 30_000 });
  await Promise.all([told, server.restart()]);
  await terminal.live(30_000);
  await terminal.sees(/^count-1-/m, 20_000);
  await terminal.enter('echo total-$n-');
  await terminal.sees(/^total-1-/m);
  await expect(workspace.page.getByText(/Reconnecting…/).first()).toBeHidden();
  await expect(banner.locator(':scope > *')).toHaveCount(0);
});

/** Twenty in the usual run, many more in the long one; on a cluster `cargo xtask` says how many. */
const KILLS = Number(process.env['FSA_KILLS'] ?? (process.env['FSA_LONG'] ? 200 : 20));

/** Where there are no more kills than these, none is spent on what matters less. */
const FEW = ['create', 'restart', 'delete'];

/** How many milliseconds the work of an ask goes on, and a little more. */
function lasts(verb: string): number {
  if (!onCluster) return 500;
  if (verb === 'create' || verb === 'start') return 6_000;
  return verb === 'restart' ? 2_500 : 1_500;
}

test(`${KILLS} kills at random moments of create, stop, start, restart and delete converge`, async ({ ownServer }) => {
  test.setTimeout(60_000 + KILLS * (onCluster ? 30_000 : 10_000));
  const seed = Number(process.env['FSA_SEED'] ?? Date.now() % 1_000_000);
  const random = mulberry32(seed);
  test.info().annotations.push({ type: 'seed', description: String(seed) });
  const server = await ownServer();
  const api = await server.api();
  const pick = <T>(from: T[]): T => from[Math.floor(random() * from.length)]!;
  let made = 0;
  const marks = new Map<string, number>();
  for (let kill = 0; kill < KILLS; kill++) {
    const there = await api.projects();
    const any = () => (there.length === 0 ? 'create' : pick(there.length > 3 ? ['delete'] : ['create', 'stop', 'start', 'restart', 'terminate', 'delete']));
    const verb = KILLS === FEW.length ? FEW[kill]! : any();
    const target = there.length === 0 ? undefined : pick(there);
    const key = `kill-${seed}-${kill}`;
    const name = `Kill ${++made}`;
    const doing = ask(api, verb, target, name, key).catch(() => undefined);
    // At any moment, from before the ask is read to after all is done: that is the point of this test.
    await nextLook(random() * lasts(verb));
    await server.kill9();
    const answer = await doing;
    await server.restart();
    const said = `seed ${seed}, kill ${kill}: ${verb} ${target?.name ?? name}, answered ${answer ?? 'nothing'}`;
    if (verb === 'create') {
      // The same ask again is the same project, whether the first one got through or not.
      const again = await api.must<Project>('POST', '/api/projects', { body: { name }, headers: { 'idempotency-key': key } });
      const same = (await api.projects()).filter((project) => project.name === name);
      expect(same.map(({ id }) => id), said).toEqual([again.id]);
    } else if (answer !== undefined && answer < 300) {
      const left = (await api.projects()).find(({ id }) => id === target!.id);
      if (verb === 'delete') expect(left === undefined || left.deleting, `${said}: an accepted delete holds`).toBe(true);
      if (verb === 'stop') expect(left?.sandbox.desired, `${said}: an accepted stop holds`).toBe('stopped');
      if (verb === 'start' || verb === 'restart') expect(left?.sandbox.desired, said).toBe('running');
      if (verb === 'terminate') expect(left?.sandbox.desired, said).toBe('terminated');
    }
    await settled(api, said);
    await whole(server, api, marks, said);
  }
  for (const project of await api.projects()) await api.remove(project.id);
  await nothingLeft(server, `seed ${seed}`);
});

async function ask(api: Api, verb: string, target: Project | undefined, name: string, key: string): Promise<number> {
  switch (verb) {
    case 'create':
      return (await api.ask('POST', '/api/projects', { body: { name }, headers: { 'idempotency-key': key } })).status;
    case 'delete':
      return (await api.ask('DELETE', `/api/projects/${target!.id}`)).status;
    case 'terminate':
      return (await api.ask('DELETE', `/api/sandbox/${target!.id}`)).status;
    default:
      return (await api.ask('POST', `/api/sandbox/${target!.id}/${verb}`)).status;
  }
}

/** Every project is where it was asked to be, and what runs can be used. */
async function settled(api: Api, said: string): Promise<void> {
  const wanted: Record<string, string> = { running: 'Running', stopped: 'Stopped', terminated: 'Terminated' };
  const projects = await until(
    `all to settle (${said})`,
    async () => {
      const now = await api.projects();
      const open = now.filter(({ deleting, sandbox }) => deleting || sandbox.phase !== wanted[sandbox.desired]);
      if (open.length === 0) return now;
      throw new Error(open.map(({ name, deleting, sandbox }) => `${name}: ${sandbox.phase}, asked ${deleting ? 'gone' : sandbox.desired}, ${sandbox.cause?.message}`).join('; '));
    },
    40_000,
  );
  for (const { id, sandbox } of projects) {
    if (sandbox.phase === 'Running') expect(await api.output(id, 'psql -At -c "select 6*7"'), said).toBe('42\n');
  }
}

/** What runs has the file and the row that it got when it first ran, and runs once. */
async function whole(server: Server, api: Api, marks: Map<string, number>, said: string): Promise<void> {
  const projects = await api.projects();
  for (const { id } of projects.filter(({ sandbox }) => sandbox.phase === 'Running')) {
    const known = marks.get(id);
    const mark = known ?? marks.size + 1;
    if (known === undefined) {
      await api.output(id, `echo ${mark} > mark && psql -v ON_ERROR_STOP=1 -qc 'create table mark as select ${mark} as n'`);
      marks.set(id, mark);
    }
    expect(await api.output(id, 'cat mark; psql -Atc "select n from mark"'), `${said}: files and rows of ${id}`).toBe(`${mark}\n${mark}\n`);
  }
  if (!onCluster) return;
  await until(`one pod at most of each (${said})`, () => {
    const pods = runsOf(server);
    const many = projects.filter(({ sandbox }) => pods.filter((pod) => pod.startsWith(`pod/${sandbox.name}-`)).length > 1);
    if (many.length > 0) throw new Error(pods.join(', '));
    return true;
  });
}

/** A small generator whose seed is told, so that a run can be repeated. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
