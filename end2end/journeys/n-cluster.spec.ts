// What only a cluster can do to a user: be away, be changed by hand under us.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { CLUSTER, kubectl, objectsOf } from '../support/cluster.ts';
import { expect, test } from '../support/fixtures.ts';
import { Workspace } from '../support/pages.ts';
import { freePort } from '../support/server.ts';
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

test('what is deleted by hand is made again, and what is left is left by no delete', CLUSTER, async ({ ownServer }) => {
  const server = await ownServer();
  server.allow(/changed by somebody else|ended by itself/);
  const api = await server.api();
  const project = await api.running('By hand');
  await api.output(project.id, 'echo kept > kept.txt');
  const { name } = project.sandbox;
  kubectl('delete', 'service', name, '--wait=true');
  await until('the Service to be there again', () => objectsOf(installationOf(server), 'services').includes(`service/${name}`), 20_000);
  kubectl('delete', 'deployment', name, '--wait=true');
  await until('another run of it', async () => {
    const { phase } = await api.sandbox(project.id);
    return phase === 'Running' && objectsOf(installationOf(server), 'deployments').length === 1;
  }, 40_000);
  expect(await api.output(project.id, 'cat kept.txt')).toBe('kept\n');
  await api.remove(project.id);
  await nothingLeft(server);
  server.allow(/changed by somebody else|ended by itself|deleted/);
});
