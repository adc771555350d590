// What only a cluster can do to a user: be away, be changed by hand under us.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { ALONE } from '../support/alone.ts';
import { CLUSTER, Counter, Narrow, apply, kubectl, kubectlArguments, objectsOf } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { NewProjectPage, Workspace, hydrated } from '../support/pages.ts';
import { freePort } from '../support/server.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';
import { installationOf, nothingLeft } from '../support/world.ts';

/** What stands before the apiserver, and can be taken away. */
class Door {
  readonly port: number;
  #server: net.Server | undefined;
  readonly #open = new Set<net.Socket>();
  readonly #to: { host: string; port: number };

  private constructor(port: number, to: { host: string; port: number }) {
    this.port = port;
    this.#to = to;
  }

  static async before(address: string): Promise<Door> {
    const url = new URL(address);
    return new Door(await freePort(), { host: url.hostname, port: Number(url.port) });
  }

  async open(): Promise<void> {
    const server = net.createServer((inward) => {
      const outward = net.connect(this.#to);
      for (const socket of [inward, outward]) {
        this.#open.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          this.#open.delete(socket);
          inward.destroy();
          outward.destroy();
        });
      }
      inward.pipe(outward);
      outward.pipe(inward);
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
  }

  async shut(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of this.#open) socket.destroy();
    await closed;
  }
}

test('without its cluster the server starts, says so on every page, and goes on when it is there', CLUSTER, async ({ ownServer, visitor, allowConsole }, info) => {
  test.setTimeout(180_000);
  allowConsole(/503|Failed to load resource/);
  const kubeconfig = fs.readFileSync(process.env['FSA_KUBECONFIG']!, 'utf8');
  const address = /server: "?(https:[^\s"]+?)"?[\s,}]/.exec(kubeconfig)![1]!;
  const door = await Door.before(address);
  const file = path.join(info.outputDir, 'kubeconfig');
  fs.mkdirSync(info.outputDir, { recursive: true });
  fs.writeFileSync(file, kubeconfig.replace(address, `https://127.0.0.1:${door.port}`), { mode: 0o600 });
  try {
    const server = await ownServer({ args: ['--allow-loopback-cluster'], env: { FSA_KUBECONFIG: file } });
    server.allow(/cannot say yet what makes databases|does not answer|cannot be reached|watch/i);
    const page = await (await visitor({ server })).newPage();
    await page.goto('/');
    const away = page.getByRole('note').filter({ hasText: /cluster|apiserver/i });
    await expect(away, 'a page says that the cluster is away').toBeVisible({ timeout: 20_000 });
    await expect(away, 'and which').toContainText(`https://127.0.0.1:${door.port}`, { timeout: 20_000 });
    await expect(away, 'and where that is said').toContainText(file);
    await expect(away, 'and since when').toContainText(/since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/);
    const other = await page.context().newPage();
    for (const at of ['/settings', '/doctor']) {
      await other.goto(at);
      await expect(other.getByRole('note').filter({ hasText: file }).first(), `and so does ${at}`).toBeVisible();
    }
    await other.close();
    for (const at of ['/sign-in', '/docs/api']) {
      const shown = await (await fetch(new URL(at, server.origin))).text();
      expect(shown, `strangers are told that it is away by ${at}`).toContain('Sandboxes cannot be started or changed');
      expect(shown, 'and not where it is').not.toContain(String(door.port));
      expect(shown).not.toContain(file);
    }

    const api = await server.api();
    const { id } = await api.create('Before the cluster', { database: false });
    expect((await api.sandbox(id)).phase).not.toBe('Running');

    await door.open();
    await expect(away, 'gone without a reload').toBeHidden({ timeout: 30_000 });
    await api.reaches(id, 'Running', 60_000);
    const workspace = await new Workspace(page).open(id);
    const terminal = await workspace.terminal().prompt();

    await door.shut();
    await expect(away, 'and there again when it is away again').toBeVisible({ timeout: 40_000 });
    await terminal.enter('echo still-$((6*7))');
    await terminal.sees(/^still-42/m);

    await door.open();
    await expect(away).toBeHidden({ timeout: 60_000 });
    await api.act(id, 'stop');
    await api.reaches(id, 'Stopped', 60_000);
    await api.remove(id);
    await nothingLeft(server);
    server.allow(/cannot say yet what makes databases|does not answer|cannot be reached|watch|apiserver/i);
  } finally {
    await door.shut();
  }
});

test('what is deleted by hand is made again, and what is left is left by no delete', CLUSTER, async ({ ownServer, visitor }) => {
  const server = await ownServer();
  server.allow(/changed by somebody else|ended by itself|agent/);
  const api = await server.api();
  const project = await api.running('By hand');
  await api.output(project.id, 'echo kept > kept.txt');
  const { name } = project.sandbox;
  kubectl('delete', 'service', name, '--wait=true');
  await until('the Service to be there again', () => objectsOf(installationOf(server), 'services').includes(`service/${name}`), 20_000);
  const told = (title: RegExp) =>
    until(`the activity to say ${title}`, async () => {
      const { activity } = await api.must('GET', `/api/projects/${project.id}/activity`);
      return activity.some((entry: { title: string }) => title.test(entry.title));
    }, 10_000);
  await told(/^Something of the sandbox was deleted or changed from outside$/);
  kubectl('delete', 'deployment', name, '--wait=true');
  await until('another run of it', async () => {
    const { phase } = await api.sandbox(project.id);
    return phase === 'Running' && objectsOf(installationOf(server), 'deployments').length === 1;
  }, 40_000);
  await told(/^The sandbox was deleted from outside after /);
  // One whose first process is killed is started again in its pod: what the run before wrote is read on.
  const log = async (source: string) => (await api.ask('GET', `/api/sandbox/${project.id}/logs?source=${source}`, { headers: { accept: 'text/plain' } })).text;
  expect(await log('past'), 'the first run of a pod').toBe('');
  await api.ask('POST', `/api/sandbox/${project.id}/exec`, { body: { command: ['kill', '1'] } }).catch(() => undefined);
  await until('the log of the run before', async () => /listening on/.test(await log('past')), 40_000);
  const starts = async () => (await log('sandbox')).match(/listening on 0\.0\.0\.0:7682/g)?.length;
  await until('the log of both runs', async () => (await starts()) === 2, 40_000);
  await api.reaches(project.id, 'Running', 60_000);
  // And on the page.
  const page = await (await visitor({ server })).newPage();
  await page.goto(`/projects/${project.id}/logs?source=past`);
  await hydrated(page);
  await expect(page.getByLabel('Which log')).toHaveValue('past');
  await expect(page.locator('.log-lines')).toContainText('listening on');
  await page.close();
  expect(await api.output(project.id, 'cat kept.txt')).toBe('kept\n');
  await api.remove(project.id);
  await nothingLeft(server);
  server.allow(/changed by somebody else|ended by itself|deleted/);
});

test('the apiserver is asked little for a create, and nothing for an unchanged pass or a viewer', { ...CLUSTER, ...ALONE }, async ({ ownServer, visitor }, info) => {
  const counter = await Counter.start();
  try {
    fs.mkdirSync(info.outputDir, { recursive: true });
    const file = path.join(info.outputDir, 'kubeconfig');
    fs.writeFileSync(file, JSON.stringify(counter.kubeconfig), { mode: 0o600 });
    const server = await ownServer({ args: ['--allow-loopback-cluster'], env: { FSA_KUBECONFIG: file } });
    const api = await server.api();
    // One before, so that every watch runs.
    const first = await api.create('Before');
    await api.reaches(first.id, 'Running', 60_000);
    const watches = counter.watches();
    expect(Object.keys(watches).length, JSON.stringify(watches)).toBeGreaterThan(10);
    counter.take();
    const second = await api.create('Counted', { database: true });
    await api.reaches(second.id, 'Running', 60_000);
    const made = counter.take();
    info.annotations.push({ type: 'requests of a create', description: String(made.length) });
    expect(made.length, made.join('\n')).toBeGreaterThan(0);
    expect(made.length, made.join('\n')).toBeLessThanOrEqual(15);

    const page = await (await visitor({ server })).newPage();
    await page.goto('/');
    await hydrated(page);
    // What the create may still have had to tidy up.
    counter.take();
    for (const at of ['/', `/projects/${first.id}`, `/projects/${second.id}/settings`, `/projects/${second.id}/activity`]) {
      await page.goto(at);
    }
    const workspace = await new Workspace(page).open(second.id);
    await expect(workspace.phase).toHaveAttribute('data-phase', 'running');
    expect(counter.take(), 'of a viewer').toEqual([]);

    if (long) {
      // Longer than any period of ours: the comparing every half minute, watches that end, a page's own asks.
      test.setTimeout(test.info().timeout + 90_000);
      const since = performance.now();
      await until('a minute and more at rest', () => performance.now() - since > 70_000, 75_000);
      await expect(workspace.phase).toHaveAttribute('data-phase', 'running');
      expect(counter.take(), 'at rest, with a page open').toEqual([]);
    }

    const passes = async () => Number(/^fsa_reconcile_passes_total\{outcome="ok"\} (\d+)/m.exec(await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text())?.[1] ?? 0);
    const before = await passes();
    // A change that is nobody's matter is looked at all the same.
    kubectl('annotate', 'deployment', second.sandbox.name, 'example.com/note=nothing');
    await until('a pass over it', async () => (await passes()) > before, 20_000);
    expect(counter.take(), 'of an unchanged pass').toEqual([]);
    expect(counter.watches(), 'neither another sandbox nor a viewer is another watch').toEqual(watches);
    for (const { id } of [first, second]) await api.remove(id);
    await nothingLeft(server);
    // It ends after what stands before its cluster.
    server.allow(/does not answer|cannot be reached|watch|apiserver/i);
  } finally {
    counter.end();
  }
});

test('a terminal that was opened at a start goes on by the pod’s own address', { ...CLUSTER, ...ALONE }, async ({ ownServer }, info) => {
  const counter = await Counter.start();
  try {
    fs.mkdirSync(info.outputDir, { recursive: true });
    const file = path.join(info.outputDir, 'kubeconfig');
    fs.writeFileSync(file, JSON.stringify(counter.kubeconfig), { mode: 0o600 });
    const server = await ownServer({ args: ['--allow-loopback-cluster'], env: { FSA_KUBECONFIG: file } });
    const api = await server.api();
    const { id } = await api.running('Straight');
    // Where its pod is told of by an event first, which is nearly always, it is reached by a port-forward at first.
    for (let n = 0; n < 3 && counter.forwarded === 0; n++) {
      const { generation } = await api.act(id, 'restart');
      await until('the new run', async () => {
        const now = await api.sandbox(id);
        return now.phase === 'Running' && now.generation >= generation;
      }, 60_000);
    }
    const terminal = await Terminal.open(api, id);
    await terminal.prompt();
    expect(counter.forwarded, 'port-forwards').toBeGreaterThan(0);
    // Longer than a kubelet takes to tell of an address.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    await until('the terminal', () => terminal.live);
    const before = terminal.hello;
    counter.cutForwards();
    expect(await terminal.run('echo $((6*7))')).toContain('42');
    expect(terminal.hello, 'it was not cut off').toBe(before);
    expect(terminal.faults).toEqual([]);
    terminal.close();
    await api.remove(id);
    server.allow(/does not answer|cannot be reached|watch|apiserver/i);
  } finally {
    counter.end();
  }
});

test('the doctor of the command line looks at a project, and removes what belongs to none', CLUSTER, async ({ ownServer }) => {
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('Looked at');
  const doctor = async (...more: string[]): Promise<any[]> => {
    const { stdout } = await server.command('doctor', '--json', '--no-probes', ...more);
    return JSON.parse(stdout).findings;
  };
  const of = (findings: any[], check: string) => findings.find((finding) => finding.check === check);
  // A terminal opens as soon as the agent answers; the node says a second or so later that the pod is ready.
  const well = await until('the doctor to find the sandbox well', async () => {
    const findings = await doctor('--project', project.slug);
    return of(findings, 'sandbox')?.verdict === 'ok' && of(findings, 'database')?.verdict !== 'warn' && findings;
  }, 30_000);
  for (const check of ['kubeconfig', 'reachability', 'namespace', 'state', 'sandbox', 'terminal', 'database', 'database address', 'orphans']) {
    expect(of(well, check), check).toMatchObject({ verdict: 'ok' });
  }

  const labels = {
    'fullstackagent.io/installation': installationOf(server),
    'fullstackagent.io/project': randomUUID(),
    'fullstackagent.io/sandbox': randomUUID(),
  };
  const [secret, volume] = ['left-secret', 'left-volume'].map((name) => `${name}-${server.port}`);
  apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: secret, labels } });
  const spec = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } } };
  apply({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: volume, labels: { ...labels, 'app.kubernetes.io/component': 'volume' } }, spec });
  const left = () => objectsOf(installationOf(server), 'secrets,persistentvolumeclaims').filter((name) => name.includes('/left-'));
  const found = of(await doctor(), 'orphans');
  expect(found.verdict).toBe('warn');
  expect(found.what).toContain(secret);
  expect(found.what).toContain(volume);
  expect(left(), 'looking removes nothing').toHaveLength(2);
  await doctor('--remove-orphans');
  expect(left(), 'what holds data stays').toEqual([`persistentvolumeclaim/${volume}`]);
  const clean = await doctor('--remove-orphans', '--with-data');
  await until('the volume to be gone', () => left().length === 0);
  expect(of(clean, 'orphans')).toBeDefined();
  expect((await api.sandbox(project.id)).phase, 'what has a row stays').toBe('Running');
  await api.remove(project.id);
  await nothingLeft(server);
});

/** In the usual run one of each sort; a right that is missing is told by the same code whichever it is. */
const long = process.env['FSA_LONG'] !== undefined;

test('fifty small sandboxes on one node are all reached, while one is worked in', { ...CLUSTER, ...ALONE }, async ({ ownServer }) => {
  test.skip(!long, 'it takes minutes: FSA_LONG');
  test.setTimeout(900_000);
  const COUNT = 50;
  const server = await ownServer({ args: ['--projects-per-user', String(COUNT)] });
  const api = await server.api();
  const ids: string[] = [];
  // A user may make some at once, and then one after the other.
  while (ids.length < COUNT) {
    const { id } = await until('another project', () => api.create(`Many ${ids.length}`, { database: false, preset: 'small' }), 30_000);
    ids.push(id);
  }
  for (const id of ids) await api.reaches(id, 'Running', 300_000);
  const terminal = await Terminal.open(api, ids[0]!);
  await terminal.prompt();
  for (const [n, id] of ids.entries()) {
    expect(await api.output(id, `echo ${n}-$((6*7))`)).toBe(`${n}-42\n`);
    expect(await terminal.run(`echo worked-in-$((${n}+1))`)).toContain(`worked-in-${n + 1}`);
  }
  terminal.close();
  await Promise.all(ids.map((id) => api.remove(id, 300_000)));
  await nothingLeft(server);
});

/** When the cluster first told of something, in a line that `kubectl get --watch` prints of it. */
function told(pattern: RegExp, ...args: string[]): { at: Promise<number>; end: () => void } {
  const watch = spawn('kubectl', kubectlArguments('get', ...args, '--watch'), { stdio: ['ignore', 'pipe', 'inherit'] });
  const at = new Promise<number>((resolve, reject) => {
    let text = '';
    watch.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (pattern.test(text)) resolve(performance.now());
    });
    watch.once('exit', () => reject(new Error(`kubectl told of nothing like ${pattern}:\n${text}`)));
  });
  // Nobody may be waiting any more when it is ended.
  at.catch(() => undefined);
  return { at, end: () => watch.kill() };
}

/** What goes wrong with a new sandbox, what the page says of it, and by what the cluster tells. */
interface Trouble {
  what: string;
  database: boolean;
  args: string[];
  shows: string;
  tells: { pattern: RegExp; args: string[] };
  /** Left to the long run. */
  rare?: boolean;
  before?: () => Promise<unknown>;
  after?: () => unknown;
}

const TROUBLES: Trouble[] = [
  {
    what: 'an image that is nowhere',
    database: false,
    args: ['--image', 'fsa.local/never-made:dev', '--image-pull-policy', 'Never'],
    shows: 'The image `fsa.local/never-made:dev` is not on the node',
    tells: { pattern: /ErrImageNeverPull/, args: ['pods', '-o', 'jsonpath={.status.containerStatuses[*].state.waiting.reason}{"\\n"}'] },
  },
  {
    what: 'a database whose image is nowhere',
    database: true,
    args: ['--database-image', 'fsa.local/never-made:dev', '--image-pull-policy', 'Never'],
    shows: 'The image `fsa.local/never-made:dev` is not on the node',
    tells: { pattern: /ErrImageNeverPull/, args: ['pods', '-o', 'jsonpath={.status.containerStatuses[*].state.waiting.reason}{"\\n"}'] },
  },
  {
    what: 'a storage class of nobody',
    database: false,
    args: ['--storage-class', 'nobodys'],
    shows: 'The storage class `nobodys` does not exist',
    tells: { pattern: /"nobodys" not found/, args: ['events', '--watch-only', '-o', 'jsonpath={.message}{"\\n"}'] },
  },
  {
    what: 'a pod that no node has room for',
    database: false,
    // What a new project has unless it says otherwise.
    args: ['--size', 'medium=1000/25Mi-1000/256Mi'],
    shows: 'No node has room for the sandbox',
    tells: { pattern: /Unschedulable/, args: ['pods', '-o', 'jsonpath={.status.conditions[*].reason}{"\\n"}'] },
    rare: true,
  },
  {
    what: 'a quota that is used up',
    database: false,
    args: [],
    shows: 'The quota `told-soon` of the namespace has no room for',
    tells: { pattern: /exceeded quota: told-soon/, args: ['events', '--watch-only', '-o', 'jsonpath={.message}{"\\n"}'] },
    rare: true,
    // What runs already is not ended by it.
    before: () => {
      apply({ apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'told-soon' }, spec: { hard: { pods: '0' } } });
      return until('the quota to count', () => kubectl('get', 'resourcequota', 'told-soon', '-o', 'jsonpath={.status.hard.pods}') === '0');
    },
    after: () => kubectl('delete', 'resourcequota', 'told-soon', '--ignore-not-found'),
  },
  {
    what: 'an image that ends again and again',
    database: false,
    // PostgreSQL's, which nobody tells a password here: it ends at once.
    args: ['--runtime', 'ttyd', '--image', process.env['FSA_DATABASE_IMAGE'] ?? 'fsa.local/postgres:dev'],
    shows: 'The sandbox ends soon after its start, with',
    tells: { pattern: /CrashLoopBackOff/, args: ['pods', '-o', 'jsonpath={.status.containerStatuses[*].state.waiting.reason}{"\\n"}'] },
    rare: true,
  },
];
for (const { what, database, args, shows, tells, rare = false, before, after } of TROUBLES) {
  test(`two seconds after the cluster tells of ${what}, the page does`, { ...CLUSTER, ...ALONE }, async ({ ownServer, visitor }) => {
    test.skip(rare && !long, 'told by the same way as those before: FSA_LONG');
    const server = await ownServer({ args });
    const allowed = /never-made|nobodys|image|storage class|room|quota|ends? soon|ended by itself/i;
    server.allow(allowed);
    const page = await (await visitor({ server })).newPage();
    // Listening by the time that the form is filled in.
    const cluster = told(tells.pattern, ...tells.args);
    try {
      await before?.();
      const form = await new NewProjectPage(page).open();
      await form.name.fill('Told soon');
      if (!database) await form.database.uncheck();
      await form.create.click();
      // Looked for at every frame, so that the time is the page's and not the test's. Code is shown without its marks.
      const shown = page.waitForFunction((text) => document.body.innerText.replaceAll('`', '').includes(text), shows.replaceAll('`', ''), { timeout: 60_000 });
      const [toldAt, shownAt] = await Promise.all([cluster.at, shown.then(() => performance.now())]);
      test.info().annotations.push({ type: 'later', description: `${Math.round(shownAt - toldAt)} ms` });
      expect(shownAt - toldAt, 'milliseconds after the cluster told').toBeLessThanOrEqual(2_000);
      const api = await server.api();
      const [project] = await api.projects();
      expect((await api.sandbox(project!.id)).cause?.message).toContain(shows);
      await api.remove(project!.id);
    } finally {
      cluster.end();
      after?.();
    }
    await nothingLeft(server);
    server.allow(allowed);
  });
}

test('two seconds after it is told of memory that is used up, the page tells it', { ...CLUSTER, ...ALONE }, async ({ ownServer, visitor }) => {
  test.skip(!long, 'told by the same way as others: FSA_LONG');
  const server = await ownServer();
  const api = await server.api();
  const { id, sandbox } = await api.create('Told soon', { database: false, preset: 'small' });
  await api.reaches(id, 'Running', 60_000);
  const { page } = await new Workspace(await (await visitor({ server })).newPage()).open(id);
  // The kernel ends the whole sandbox, of which the cluster tells, or, with control groups of version 1, the process alone:
  // the cluster hears nothing of that, and the agent looks every two seconds.
  const reasons = ['state', 'lastState'].map((state) => `{.status.containerStatuses[*].${state}.terminated.reason}`).join('');
  const cluster = told(/OOMKilled/, 'pods', '-l', `app=${sandbox.name}`, '-o', `jsonpath=${reasons}{"\\n"}`);
  try {
    const text = 'by the kernel, because the sandbox had used all of its';
    const shown = page.waitForFunction((text) => document.body.innerText.includes(text), text, { timeout: 60_000 }).then(() => performance.now());
    const never = new Promise<never>(() => undefined);
    const alone = api.exec(id, "python3 -c 'x = bytearray(600 << 20)'; echo ended by $?").then(
      ({ stdout }) => (stdout.includes('ended by 137') ? { at: performance.now(), within: 4_000 } : never),
      () => never,
    );
    const whole = cluster.at.then((at) => ({ at, within: 2_000 }));
    const [first, shownAt] = await Promise.all([Promise.race([whole, alone]), shown]);
    test.info().annotations.push({ type: 'later', description: `${Math.round(shownAt - first.at)} ms of ${first.within}` });
    expect(shownAt - first.at, 'milliseconds after it was told').toBeLessThanOrEqual(first.within);
  } finally {
    cluster.end();
  }
  expect((await api.sandbox(id)).cause).toMatchObject({ code: 'out-of-memory' });
  await api.remove(id);
  await nothingLeft(server);
  server.allow(/agent|ended by itself/i);
});

test('the logs of a sandbox on a cluster: by REST, and on the page as they are written', CLUSTER, async ({ api, project, visitor }) => {
  const log = async (source: string) => {
    const answer = await api.ask('GET', `/api/sandbox/${project.id}/logs?source=${source}`, { headers: { accept: 'text/plain' } });
    expect(answer.status, source).toBe(200);
    return answer.text;
  };
  expect(await log('sandbox')).toContain('listening on');
  expect(await log('database')).toContain('database system is ready to accept connections');
  expect(await log('events')).toContain(`Pod ${project.sandbox.name}`);

  const page = await (await visitor()).newPage();
  await page.goto(`/projects/${project.id}/logs`);
  await hydrated(page);
  const lines = page.locator('.log-lines');
  await expect(lines).toContainText('listening on');
  // The image has its agent: nothing prepares it, and there was no run before.
  for (const source of ['install', 'past']) {
    await page.getByLabel('Which log').selectOption(source);
    await expect(lines, source).toHaveText('There is nothing in this log.');
  }
  await page.getByLabel('Which log').selectOption('events');
  await expect(lines).toContainText(`Pod ${project.sandbox.name}`);
  await page.getByLabel('Which log').selectOption('database');
  await expect(lines).toContainText('database system is ready to accept connections');
  await expect(lines).not.toContainText('told_later');
  await api.exec(project.id, 'psql -qc "select told_later"');
  await expect(lines).toContainText('column "told_later" does not exist');

  // With its pod its log is gone, until there is another.
  await api.act(project.id, 'stop');
  await expect(page.locator('header .phase-pill').first()).toHaveAttribute('data-phase', 'stopped', { timeout: 60_000 });
  await page.getByLabel('Which log').selectOption('sandbox');
  await expect(page.getByRole('heading', { name: 'The sandbox is stopped' })).toBeVisible();
  await expect(lines).toBeHidden();
  await expect(page.locator('fsa-log .state-note'), 'each try says nothing').toBeEmpty();
  await page.locator('fsa-log').getByRole('button', { name: 'Start' }).click();
  await expect(lines).toContainText('listening on', { timeout: 60_000 });
  await expect(page.locator('fsa-log').getByRole('heading')).toHaveCount(0);
  await expect(page.locator('fsa-log .state-note')).toHaveText('Live');
});

test('an image of ttyd: a plain terminal, said so, and a new shell for each who comes', CLUSTER, async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/status of 409/);
  const server = await ownServer({ args: ['--runtime', 'ttyd', '--image', process.env['FSA_TEST_TTYD_IMAGE'] ?? 'fsa.local/ttyd:dev'] });
  const api = await server.api();
  const project = await api.create('Plain', { database: false });
  await api.reaches(project.id, 'Running', 60_000);
  const workspace = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
  let terminal = await workspace.terminal().prompt();
  await terminal.enter('here=yes; echo it-is-$((6*7))');
  // Without a terminal of its own, the shell may have its next prompt in front.
  await terminal.sees(/^(\$ )?it-is-42/m);
  await expect(workspace.page.getByText('plain terminal (ttyd)').first()).toBeVisible();
  const refused = await api.ask('POST', `/api/sandbox/${project.id}/exec`, { body: { command: ['true'] } });
  expect([refused.status, refused.body.details.code]).toEqual([409, 'no-agent']);
  await workspace.page.reload();
  terminal = await workspace.terminal().prompt();
  await terminal.enter('echo "[$here]"');
  await terminal.sees(/^(\$ )?\[\]/m);
  await api.remove(project.id);
  await nothingLeft(server);
});

const SEEN = ['deployments', 'pods', 'persistentvolumeclaims', 'services', 'networkpolicies', 'secrets', 'serviceaccounts', 'events', 'statefulsets'];
const MADE = ['deployments', 'services', 'secrets', 'persistentvolumeclaims', 'serviceaccounts', 'networkpolicies', 'statefulsets'];

test('a right that is missing is named on every page, on the page of what it stops, and where a log would be', CLUSTER, async ({ ownServer, visitor, allowConsole }, info) => {
  test.skip(!process.env['FSA_HELM'], 'FSA_HELM names what reads the chart');
  test.setTimeout(long ? 900_000 : 240_000);
  allowConsole(/./);
  const narrow = await Narrow.make(info.outputDir);
  try {
    const server = await ownServer({ env: { FSA_KUBECONFIG: narrow.file } });
    const page = await (await visitor({ server })).newPage();

    for (const resource of long ? SEEN : ['secrets', 'statefulsets']) {
      await server.stop();
      await narrow.without(resource, 'list', 'watch');
      await server.restart();
      await page.goto('/');
      await expect(page.getByRole('note').filter({ hasText: resource }), `the pages name ${resource}`).toBeVisible({ timeout: 30_000 });
    }
    await server.stop();
    await narrow.whole();
    await server.restart();
    await page.goto('/');
    await expect(page.getByRole('note').filter({ hasText: 'may not' }), 'with all rights there is no notice').toHaveCount(0, { timeout: 30_000 });

    const api = await server.api();
    for (const resource of long ? MADE : ['persistentvolumeclaims', 'statefulsets']) {
      await narrow.without(resource, 'create');
      const project = await api.create(`Without ${resource}`, { database: resource === 'statefulsets' });
      await new Workspace(page).open(project.id);
      await expect(page.getByText(new RegExp(`may not create ${resource}`)).first(), `the page says that ${resource} may not be made`).toBeVisible({ timeout: 30_000 });
      const { cause } = await api.sandbox(project.id);
      expect(cause, resource).toMatchObject({ code: 'permission-missing' });
      await narrow.whole();
      await api.reaches(project.id, 'Running', 90_000);
      if (resource !== 'statefulsets') await api.remove(project.id);
    }

    const [project] = await api.projects();
    // What is there is changed and removed by other rights.
    const says = (what: string) => expect(page.getByText(new RegExp(`may not ${what}`)).first(), `the page says that it may not ${what}`).toBeVisible({ timeout: 30_000 });
    await new Workspace(page).open(project!.id);
    await narrow.without('deployments', 'patch');
    await api.act(project!.id, 'stop');
    await says('patch deployments');
    await narrow.whole();
    await api.reaches(project!.id, 'Stopped', 60_000);
    await api.act(project!.id, 'start');
    await api.reaches(project!.id, 'Running', 90_000);
    await narrow.without('services', 'delete');
    await api.terminate(project!.id);
    await says('delete services');
    await narrow.whole();
    await api.reaches(project!.id, 'Terminated', 60_000);
    await api.act(project!.id, 'start');
    await api.reaches(project!.id, 'Running', 90_000);

    await narrow.without('pods/log', 'get');
    await page.goto(`/projects/${project!.id}/logs`);
    await expect(page.locator('.log-lines')).toContainText(/cannot be read/);
    await narrow.whole();
    await api.remove(project!.id);
    await nothingLeft(server);
    server.allow(/may not|forbidden|permission|not known yet|cannot say yet what makes databases|watch|in the cluster/i);
  } finally {
    narrow.end();
  }
});

test("the doctor's page looks at a project, and with pods at names and policies", CLUSTER, async ({ project, signedIn: page }) => {
  test.setTimeout(240_000);
  await page.goto(`/projects/${project.id}/settings`);
  await page.getByRole('link', { name: 'Doctor', exact: true }).click();
  await expect(page).toHaveURL(new RegExp(`/doctor\\?project=${project.id}$`));
  const finding = (check: string) => page.locator('.finding').filter({ has: page.locator('strong', { hasText: new RegExp(`^${check}$`) }) });
  const over = async () => {
    await expect(page.getByRole('status')).toContainText(/checks/, { timeout: 150_000 });
    await expect(page.getByRole('status')).not.toContainText('Looking');
  };
  await over();
  await expect(finding('sandbox')).toContainText(project.sandbox.name);
  await expect(finding('sandbox')).toHaveAttribute('data-verdict', 'ok');
  await expect(finding('terminal')).toHaveAttribute('data-verdict', 'ok');
  await expect(finding('name lookup')).toHaveCount(0);

  await page.getByRole('checkbox', { name: /^Start pods/ }).check();
  await page.getByRole('button', { name: 'Look again' }).click();
  await expect(finding('name lookup')).toHaveAttribute('data-verdict', 'ok', { timeout: 150_000 });
  await expect(finding('network policies')).toBeVisible({ timeout: 150_000 });
  await over();
  await expect(finding('sandbox')).toHaveAttribute('data-verdict', 'ok');
});

test('a namespace that is not there is said on every page, and all goes on once it is made', CLUSTER, async ({ ownServer, visitor }) => {
  test.setTimeout(180_000);
  const namespace = `${process.env['FSA_NAMESPACE'] ?? 'fsa'}-nowhere`;
  const server = await ownServer({ env: { FSA_NAMESPACE: namespace } });
  server.allow(/cannot say yet what makes databases/);
  const page = await (await visitor({ server })).newPage();
  await page.goto('/');
  const missing = page.getByRole('note').filter({ hasText: `The namespace ${namespace} does not exist` });
  await expect(missing, 'before anything is made').toBeVisible({ timeout: 20_000 });
  const api = await server.api();
  const { id } = await api.create('Before its namespace', { database: false });
  expect((await api.sandbox(id)).phase).not.toBe('Running');
  kubectl('create', 'namespace', namespace);
  try {
    await expect(missing, 'gone without a reload').toBeHidden({ timeout: 30_000 });
    await api.reaches(id, 'Running', 60_000);
    await api.remove(id);
    server.allow(/cannot say yet what makes databases/);
  } finally {
    kubectl('delete', 'namespace', namespace, '--wait=false');
  }
});
