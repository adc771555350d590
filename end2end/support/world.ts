// What is really there behind the API: processes, folders, databases and roles of a data folder, or the
// objects of an installation on a cluster.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { EVERYTHING, objectsOf, onCluster } from './cluster.ts';
import { sandboxProcessesOf } from './processes.ts';
import type { Server } from './server.ts';
import { until } from './until.ts';

/** Volumes, sandboxes and what waits for removal. */
export function foldersOf(server: Server): { volumes: string[]; sandboxes: string[]; trash: string[] } {
  const list = (name: string) => {
    const folder = path.join(server.dataDir, name);
    return fs.existsSync(folder) ? fs.readdirSync(folder) : [];
  };
  return { volumes: list('volumes'), sandboxes: list('sandboxes'), trash: list('trash') };
}

/** What runs of sandboxes: processes of this machine, or pods. */
export function runsOf(server: Server): string[] {
  if (!onCluster) return sandboxProcessesOf(server.dataDir).map(({ pid, command }) => `${pid} ${command}`);
  return objectsOf(installationOf(server), 'pods').filter((name) => !name.includes('-postgresql'));
}

/** The volumes of home folders. */
export function volumesOf(server: Server): string[] {
  if (!onCluster) return foldersOf(server).volumes;
  return objectsOf(installationOf(server), 'persistentvolumeclaims').filter((name) => name.includes('/volume-'));
}

/** The id that is on everything of a server's on a cluster. */
export function installationOf(server: Server): string {
  return controlPlane(server, 'SELECT id FROM installation').trim();
}

/** Databases and roles of projects on the embedded PostgreSQL; the control plane's own are left out. */
export function databasesOf(server: Server): { databases: string[]; roles: string[] } {
  if (onCluster) {
    const sets = objectsOf(installationOf(server), 'statefulsets');
    return { databases: sets, roles: sets };
  }
  const ask = (query: string) =>
    psql(server, query)
      .split('\n')
      .filter((line) => line !== '');
  const own = /^(postgres|template\d|fullstack_agent|fsa_admin)$/;
  return {
    databases: ask('SELECT datname FROM pg_database').filter((name) => !own.test(name)),
    roles: ask("SELECT rolname FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'").filter((name) => !own.test(name)),
  };
}

/** Waits until no process, folder, database or role of any project is there. */
export async function nothingLeft(server: Server, said = 'after a delete'): Promise<void> {
  if (onCluster) {
    await until(`no object (${said})`, () => {
      const left = objectsOf(installationOf(server), EVERYTHING);
      if (left.length > 0) throw new Error(JSON.stringify(left));
      return true;
    }, 30_000);
    return;
  }
  await until(`no process (${said})`, () => {
    const left = sandboxProcessesOf(server.dataDir);
    if (left.length > 0) throw new Error(JSON.stringify(left));
    return true;
  });
  await until(`no folder (${said})`, () => {
    const left = foldersOf(server);
    if (Object.values(left).some((names) => names.length > 0)) throw new Error(JSON.stringify(left));
    return true;
  });
  await until(`no database and no role (${said})`, () => {
    const left = databasesOf(server);
    if (left.databases.length + left.roles.length > 0) throw new Error(JSON.stringify(left));
    return true;
  });
}

/** A query as the superuser of the embedded PostgreSQL, by its Unix socket. */
export function psql(server: Server, query: string, database = 'postgres'): string {
  const { socket, user, password } = superuser(server);
  return execFileSync('psql', ['-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-h', socket, '-U', user, '-d', database, '-c', query], {
    env: { ...process.env, PGPASSWORD: password },
    encoding: 'utf8',
  });
}

/** The address of a database on the embedded PostgreSQL, as its superuser. */
export function addressOf(server: Server, database: string): string {
  const { socket, user, password } = superuser(server);
  return `postgresql://${user}:${password}@localhost/${database}?host=${encodeURIComponent(socket)}`;
}

/** The process id of the embedded PostgreSQL. */
export function postgresPid(server: Server): number {
  const file = path.join(server.dataDir, 'postgres', 'data', 'postmaster.pid');
  return Number(fs.readFileSync(file, 'utf8').split('\n')[0]);
}

function superuser(server: Server): { socket: string; user: string; password: string } {
  const folder = path.join(server.dataDir, 'postgres');
  const lines = fs.readFileSync(path.join(folder, 'data', 'postmaster.pid'), 'utf8').split('\n');
  const secrets = JSON.parse(fs.readFileSync(path.join(folder, 'secrets.json'), 'utf8'));
  return { socket: lines[4]!, user: 'fsa_admin', password: secrets.admin };
}

/** A query on the control plane's own database. */
export function controlPlane(server: Server, query: string): string {
  return psql(server, query, CONTROL);
}

/** The name of its database. */
const CONTROL = 'fullstack_agent';

/** No role can be made while this is held: a database stays in the making. Answers what lets it go. */
export async function holdRoles(server: Server): Promise<() => Promise<void>> {
  const { socket, user, password } = superuser(server);
  const held = spawn('psql', ['-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-h', socket, '-U', user, '-d', 'postgres'], {
    env: { ...process.env, PGPASSWORD: password },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let told = '';
  held.stdout.on('data', (chunk: Buffer) => (told += chunk.toString()));
  const over = new Promise<void>((resolve) => held.once('exit', () => resolve()));
  held.stdin.write("BEGIN; LOCK TABLE pg_authid IN SHARE MODE; SELECT 'held';\n");
  await until('the lock', () => told.includes('held'));
  return async () => {
    held.stdin.end('COMMIT;\n');
    await over;
  };
}
