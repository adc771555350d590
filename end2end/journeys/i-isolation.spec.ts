// From inside a sandbox: nothing of the machine, of its loopback, of its files, of another sandbox. What goes by the network is of one machine:
// on a cluster that is what NetworkPolicies say, which the tests of the crate `kubernetes` read, and a PostgreSQL for each project.
import { ONE_MACHINE, onCluster } from '../support/cluster.ts';
import fs from 'node:fs';
import http from 'node:http';
import type net from 'node:net';
import os from 'node:os';
import { expect, test } from '../support/fixtures.ts';
import { until } from '../support/until.ts';
import { sandboxProcessesOf } from '../support/processes.ts';

/** Tries to fetch, and says what came. Node's fetch knows no proxy; curl goes by the environment. */
const reach = (url: string) => `
(curl -sS --max-time 8 '${url}' || echo curl-refused) 2>&1
node -e "fetch('${url}', { signal: AbortSignal.timeout(8000) }).then((a) => a.text()).then(console.log, () => console.log('fetch-refused'))"`;

test('services on the machine’s loopback and on its addresses cannot be reached', ONE_MACHINE, async ({ api, project, server }) => {
  test.setTimeout(120_000);
  const service = http.createServer((_, answer) => answer.end('the machine itself'));
  await new Promise<void>((resolve) => service.listen(0, '::', resolve));
  const { port } = service.address() as net.AddressInfo;
  const own = Object.values(os.networkInterfaces()).flatMap((all) => all ?? []).filter(({ address }) => !address.startsWith('fe80'));
  const hosts = ['127.0.0.1', 'localhost', '[::1]', '0.0.0.0', '127.1', '2130706433', '[::ffff:127.0.0.1]', os.hostname(), ...own.map(({ address, family }) => (family === 'IPv6' ? `[${address}]` : address))];
  try {
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'the service is there').toBe('the machine itself');
    for (const host of new Set(hosts)) {
      const said = await api.exec(project.id, reach(`http://${host}:${port}/`));
      expect(said.stdout, host).not.toContain('the machine itself');
      expect(said.stdout, host).toContain('curl-refused');
      expect(said.stdout, host).toContain('fetch-refused');
    }
    // The control plane too.
    expect((await api.exec(project.id, reach(`http://127.0.0.1:${server.port}/healthz`))).stdout).toContain('curl-refused');
  } finally {
    service.closeAllConnections();
    service.close();
  }
});

test('metadata and private addresses are refused', ONE_MACHINE, async ({ api, project }) => {
  test.setTimeout(120_000);
  for (const host of ['169.254.169.254', '[fd00:ec2::254]', '10.0.0.1', '192.168.0.1', '172.16.0.1', '100.64.0.1', '[fe80::1]']) {
    const said = await api.exec(project.id, `curl -sS --max-time 5 -o /dev/null -w '%{http_code}' 'http://${host}/'; echo " ended $?"`);
    expect(said.stdout, host).toMatch(/^000 ended [1-9]/);
  }
  // Its owner is told of each, with why and what the operator can do.
  type Told = { title: string; detail: string; actor: { via: string } };
  const told = await until('the refusals to be told', async () => {
    const { activity } = await api.must<{ activity: Told[] }>('GET', `/api/projects/${project.id}/activity?kind=network`);
    return ['10.0.0.1', '169.254.169.254'].every((host) => activity.some(({ title }) => title === `Refused a connection to ${host}:80`)) && activity;
  }, 30_000);
  for (const { detail, actor } of told) {
    expect(detail).toMatch(/which sandboxes may not reach\. The operator can allow it: --egress-allow$/);
    expect(actor.via).toBe('system');
  }
});

test('no file of /proc/sys can be written, and nothing of the kernel set', async ({ api, project }) => {
  // Opening is enough; what opens is not written to.
  const program = `
    const fs = require('node:fs'), path = require('node:path');
    let tried = 0; const open = [];
    const walk = (folder) => { let names = []; try { names = fs.readdirSync(folder, { withFileTypes: true }); } catch {}
      for (const name of names) { const place = path.join(folder, name.name);
        if (name.isDirectory()) { walk(place); continue; }
        tried++; try { fs.closeSync(fs.openSync(place, fs.constants.O_WRONLY)); open.push(place); } catch {} } };
    walk('/proc/sys'); walk('/sys');
    for (const place of ['/proc/sysrq-trigger', '/dev/mem', '/dev/kmsg', '/dev/sda', '/dev/net/tun']) try { fs.closeSync(fs.openSync(place, fs.constants.O_WRONLY)); open.push(place); } catch {}
    console.log(JSON.stringify({ tried, open }));`;
  const { tried, open } = JSON.parse(await api.output(project.id, ['node', '-e', program]));
  expect(tried).toBeGreaterThan(300);
  expect(open).toEqual([]);
});

test('no privileges inside, and no user of the machine outside', async ({ api, project, server }) => {
  const status = await api.output(project.id, 'cat /proc/self/status; id -u; id -un; echo HOME=$HOME');
  expect(status).toMatch(/^CapEff:\s+0+$/m);
  expect(status).toMatch(/^CapBnd:\s+0+$/m);
  expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
  expect(status).toMatch(/^Seccomp:\s+2$/m);
  expect(status).toMatch(/^1000\nagent$/m);
  for (const command of ['unshare -U true', 'unshare -n true', 'mount -t tmpfs none /mnt', 'chroot / true', 'su -c true', 'dmesg', 'ip link add d0 type dummy', 'kill -0 2']) {
    const { code } = await api.exec(project.id, `${command} 2>/dev/null`);
    if (command !== 'kill -0 2') expect(code, command).not.toBe(0);
  }
  // Whom a pod's user is on its node is the cluster's affair.
  if (onCluster) return;
  test.skip(process.getuid?.() !== 0, 'only root gives sandboxes host users of their own');
  const inside = sandboxProcessesOf(server.dataDir).filter(({ pid }) => fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('sandbox-agent'));
  expect(inside.length).toBeGreaterThan(0);
  for (const { pid, command } of inside) {
    const uid = Number(/^Uid:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
    expect(uid, command).toBeGreaterThanOrEqual(200_000);
  }
});

test('files and processes of the machine and of another sandbox are not there', async ({ api, project, server }) => {
  const other = await api.running('Neighbour');
  try {
    await api.output(other.id, 'echo secret-of-the-neighbour > secret.txt; chmod 644 secret.txt; (echo secret-of-the-neighbour > /tmp/secret.txt)');
    await api.output(other.id, 'setsid sleep 4242 >/dev/null 2>&1 &');
    expect(await api.output(project.id, 'ls /tmp | grep -c secret || true')).toBe('0\n');
    const found = await api.exec(project.id, `find / -xdev \\( -name secret.txt -o -name '*.sock' -o -name postmaster.pid \\) -not -path '/proc/*' 2>/dev/null`, { timeoutMs: 60_000 });
    expect(found.stdout.split('\n').filter((line) => line !== '' && !line.startsWith('/home/agent/') && !line.startsWith('/usr/'))).toEqual([]);
    const places = [server.dataDir, server.root, '/root', '/etc/shadow', '/run/docker.sock', '/boot', '/proc/1/root/etc/shadow'];
    // An image has its own of these.
    if (!onCluster) places.push('/var/lib', '/etc/ssh');
    for (const place of places) {
      const { code } = await api.exec(project.id, `ls '${place}'/* >/dev/null 2>&1 || cat '${place}' >/dev/null 2>&1`);
      expect(code, place).not.toBe(0);
    }
    const commands = await api.output(project.id, 'cat /proc/[0-9]*/cmdline | tr "\\0" " "');
    expect(commands).not.toContain('sleep 4242');
    expect(commands).not.toContain('postgres');
    for (const place of ['/usr', '/etc', '/bin', '/opt/x', '/']) {
      expect((await api.exec(project.id, `touch ${place}/written 2>/dev/null`)).code, place).not.toBe(0);
    }
    const environ = await api.output(project.id, 'cat /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n"');
    // Where git asks for credentials is said inside, in the sandbox's own home.
    expect(environ).not.toMatch(/^FSA_(?!.*=$|GIT_SOCKET=\/home\/agent\/)/m);
    expect(environ).not.toContain(server.dataDir);
  } finally {
    await api.remove(other.id);
  }
});

test('the database of another project is closed, and so is the control plane’s', ONE_MACHINE, async ({ api, project }) => {
  const other = await api.running('Other rows');
  try {
    const name = (await api.output(other.id, 'echo $PGDATABASE')).trim();
    const role = (await api.output(other.id, 'echo $PGUSER')).trim();
    const password = (await api.output(other.id, 'echo $PGPASSWORD')).trim();
    expect(name).not.toBe((await api.output(project.id, 'echo $PGDATABASE')).trim());
    for (const connection of [`-d ${name}`, '-d fullstack_agent', '-d postgres', '-d template1', `-U postgres -d postgres`]) {
      const said = await api.exec(project.id, `psql ${connection} -w -At -c 'select 1'`);
      expect(said.code, connection).not.toBe(0);
    }
    // Not even with the other's password: the way in leads to one's own database alone, or is the other's right.
    const with_password = await api.exec(project.id, `PGPASSWORD='${password}' psql -U '${role}' -d '${project.slug}' -w -At -c 'select 1'`);
    expect(with_password.code).not.toBe(0);
    for (const statement of ['create role mine superuser', 'create database mine', "copy (select 1) to '/tmp/x'", "copy (select 1) to program 'id'", "select pg_read_file('/etc/passwd')", 'select * from pg_authid', `alter role "${role}" password 'x'`]) {
      expect((await api.exec(project.id, ['psql', '-v', 'ON_ERROR_STOP=1', '-c', statement])).code, statement).not.toBe(0);
    }
  } finally {
    await api.remove(other.id);
  }
});
