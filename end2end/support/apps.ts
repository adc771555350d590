// Apps that sandboxes run: a page of Node alone, and those that run as their users do, by `npm run dev`. A sandbox of the
// tests has no way to a registry of packages, and neither has a journey on the test cluster: set-up installs them, once, and they
// are copied in.
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Api, Project } from './api.ts';
import { Terminal } from './terminal.ts';
import { Final, until } from './until.ts';

const APPS = path.join(import.meta.dirname, 'apps');

const PAGE =
  "const [port, title] = process.argv.slice(2); require('http').createServer((q, r) => r.setHeader('content-type', 'text/html').end('<!doctype html><html lang=en><title>x</title><h1>' + title + '</h1><p>at ' + q.url + '</p>')).listen(Number(port), '127.0.0.1', () => console.log('serving'));\n";

/** Serves one heading on a port, with what was asked for, from a terminal of its own. */
export async function serve(api: Api, project: Project, port: number, title: string): Promise<void> {
  await api.output(project.id, 'cat > serve.js', { stdin: PAGE });
  const terminal = await Terminal.open(api, project.id, { session: `web-${port}` });
  await terminal.prompt();
  const from = terminal.end;
  terminal.type(`node serve.js ${port} '${title}'\r`);
  await terminal.sees(/^serving/m, from);
  await until(`port ${port} to be told`, async () => (await api.sandbox(project.id)).ports.some((open) => open.port === port));
}

/** Where `node_modules` of an app is, by its lock. */
function packages(app: string): string {
  const lock = fs.readFileSync(path.join(APPS, app, 'package-lock.json'));
  const folder = path.join(process.env['FSA_APPS'] ?? '', `${app}-${crypto.createHash('sha256').update(lock).digest('hex').slice(0, 12)}`);
  if (!fs.existsSync(folder)) throw new Error(`The packages of ${app} are not in ${folder}: \`cargo xtask setup\` installs them, \`cargo xtask test\` says where.`);
  return folder;
}

/** A file of an app. */
export function fileOf(app: string, file: string): string {
  return fs.readFileSync(path.join(APPS, app, file), 'utf8');
}

type App = 'vite' | 'next' | 'prisma';

/** What an app does without: nobody debugs the packages, and nothing here scales pictures. */
const LEFT: Record<App, string[]> = {
  vite: [],
  next: ['node_modules/@img', 'node_modules/sharp'],
  // Of 200 MB half is for other databases than PostgreSQL, and for Prisma Studio and the databases of `prisma dev`, which nobody opens.
  prisma: [
    ...['mysql', 'sqlite', 'sqlserver', 'cockroachdb'].map((name) => `query_compiler_*.${name}.*`),
    ...['@prisma/studio-core/dist/ui', 'node_modules/elkjs', 'node_modules/react-dom', '@prisma/dev/dist/runtime-assets', 'node_modules/@electric-sql'],
    'prisma/build/schema_engine_bg.wasm', // which is there once more, in the package that runs it
  ],
};

/** Puts an app with its packages into the home folder of a sandbox, as `~/APP`. */
export async function install(api: Api, project: string, app: App): Promise<void> {
  const left = ['*.map', ...LEFT[app]].map((name) => `--exclude=${name}`);
  const raw = execFileSync('tar', ['-c', ...left, '-C', packages(app), 'node_modules', '-C', path.join(APPS, app), '--exclude=./node_modules', '.'], {
    maxBuffer: 1 << 30,
  });
  await until(`${app} to be taken`, async () => {
    const answer = await api.ask('PUT', `/api/sandbox/${project}/files/${app}.tar`, { raw, headers: { 'content-type': 'application/x-tar' }, timeoutMs: 60_000 });
    if (answer.status >= 300 && answer.status !== 503) throw new Final(`${answer.status} ${answer.text.slice(0, 500)}`);
    return answer.status < 300;
  });
  await api.output(project, `mkdir ${app} && tar -x -C ${app} -f ${app}.tar && rm ${app}.tar`);
}
