// The release binary with a data folder of its own: started, watched, killed, started again.
//
// A server is `FSA_BINARY` as a child process. What it makes (keepers, PostgreSQL) outlives it, as it
// should; `destroy` ends all of that and says what was left over.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { Api } from './api.ts';
import { EVERYTHING, kubectl, onCluster } from './cluster.ts';
import { alive, processesOf } from './processes.ts';
import { Final, until } from './until.ts';
import { installationOf } from './world.ts';

const run = promisify(execFile);

export interface ServerOptions {
  /** Beside those that every server gets. */
  args?: string[];
  env?: Record<string, string>;
  /** Lines of `.secret/.env`. */
  secret?: Record<string, string>;
  /** Under which sandboxes look for Claude Code; from the environment unless said. */
  claudeDir?: string | undefined;
  /** Another data folder than a fresh one; it is not removed. */
  dataDir?: string;
  /** Runs a copy of the release, which a test may replace: `program`. */
  copied?: boolean;
  /** Where it listens, for who has to know before; else any free one. */
  port?: number;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** A server that comes up takes two seconds here; the first start also makes the PostgreSQL. */
const START_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 20_000;

export function binary(): string {
  const found = process.env['FSA_BINARY'];
  if (!found) throw new Error('FSA_BINARY does not say where the release binary is; `cargo xtask test` sets it.');
  return found;
}

/** A data folder and, most of the time, a server in it. */
export class Server {
  /** Holds everything of this server. */
  readonly root: string;
  readonly dataDir: string;
  readonly port: number;
  readonly options: ServerOptions;
  /** Everything printed since the first start. */
  log = '';
  /** The part of the log that was already judged. */
  #judged = 0;
  #allowed: RegExp[] = [];
  #child: ChildProcess | undefined;
  #token: string | undefined;
  #link: string | undefined;

  private constructor(root: string, port: number, options: ServerOptions) {
    this.root = root;
    this.dataDir = options.dataDir ?? path.join(root, 'data');
    this.port = port;
    this.options = options;
  }

  /** Makes the folder and starts a server in it. */
  static async start(options: ServerOptions = {}): Promise<Server> {
    const server = await Server.prepare(options);
    await server.restart();
    return server;
  }

  /** Makes the folder alone. */
  static async prepare(options: ServerOptions = {}): Promise<Server> {
    // Short, as Unix sockets in it have at most 108 characters; open, as sandboxes run as users of their own.
    const root = fs.mkdtempSync(path.join(os.tmpdir(), 'fsa-'));
    fs.chmodSync(root, 0o755);
    if (options.secret) {
      fs.mkdirSync(path.join(root, '.secret'), { mode: 0o700 });
      const lines = Object.entries(options.secret).map(([key, value]) => `${key}=${value}\n`);
      fs.writeFileSync(path.join(root, '.secret', '.env'), lines.join(''), { mode: 0o600 });
    }
    const server = new Server(root, options.port ?? (await freePort()), options);
    if (options.copied) fs.copyFileSync(binary(), server.program);
    return server;
  }

  /** The file that it runs. */
  get program(): string {
    return this.options.copied ? path.join(this.root, 'fullstack-agent') : binary();
  }

  get origin(): string {
    return `http://localhost:${this.port}`;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error('the server does not run');
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Arguments of `serve`, without the command. */
  arguments(): string[] {
    return [
      '--listen',
      `127.0.0.1:${this.port}`,
      '--listen',
      `[::1]:${this.port}`,
      '--public-url',
      this.origin,
      '--data-dir',
      this.dataDir,
      ...(this.options.args ?? []),
    ];
  }

  environment(): NodeJS.ProcessEnv {
    const env: NodeJS.ProcessEnv = { ...process.env, ...this.options.env };
    // Of the machine that tests run on: none of it may decide what is tested.
    for (const name of ['DATABASE_URL', 'FSA_DATABASE_URL', 'ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN', 'ANTHROPIC_BASE_URL']) {
      if (!this.options.env?.[name]) delete env[name];
    }
    if ('claudeDir' in this.options) {
      if (this.options.claudeDir === undefined) delete env['FSA_CLAUDE_DIR'];
      else env['FSA_CLAUDE_DIR'] = this.options.claudeDir;
    }
    return env;
  }

  /** Starts it and does not wait for anything. */
  spawn(): ChildProcess {
    if (this.running) throw new Error('the server runs already');
    const child = spawn(this.program, this.arguments(), {
      cwd: this.root,
      env: this.environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
      // A Ctrl-C at the tests' own terminal is not this server's.
      detached: true,
    });
    const hear = (chunk: Buffer) => {
      const text = chunk.toString();
      this.log += text;
      const link = /Sign in: (\S+)/.exec(text);
      if (link) this.#link = link[1];
    };
    child.stdout!.on('data', hear);
    child.stderr!.on('data', hear);
    this.#child = child;
    return child;
  }

  /** Starts it (again) and waits until it answers. */
  async restart(): Promise<void> {
    this.#link = undefined;
    const child = this.spawn();
    await until(
      'the server to be ready',
      async () => {
        if (!this.running) throw new Final(`the server ended (${child.exitCode ?? child.signalCode})`);
        if (this.#link === undefined) return false;
        const answer = await fetch(`http://127.0.0.1:${this.port}/readyz`);
        return answer.ok;
      },
      START_DEADLINE_MS,
    ).catch((error: Error) => {
      throw new Error(`${error.message}\nlog:\n${this.log}`);
    });
  }

  /** `kill -9`: the server alone, and nothing that it started. */
  async kill9(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** SIGTERM: sandboxes and PostgreSQL go on. */
  async stop(): Promise<Exit> {
    return await this.#end('SIGTERM');
  }

  /** Ctrl-C: sandboxes and PostgreSQL end too. */
  async interrupt(): Promise<Exit> {
    return await this.#end('SIGINT');
  }

  async #end(signal: NodeJS.Signals): Promise<Exit> {
    const child = this.#child;
    if (!child || !this.running) return { code: child?.exitCode ?? null, signal: child?.signalCode ?? null };
    const exit = exited(child);
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
    const how = await exit;
    clearTimeout(timer);
    if (signal !== 'SIGKILL' && how.signal === 'SIGKILL') throw new Error(`the server ignored ${signal} for ${STOP_DEADLINE_MS} ms`);
    return how;
  }

  /** Runs the binary's other commands on this data folder. */
  async command(...args: string[]): Promise<{ stdout: string; stderr: string }> {
    return await run(this.program, [...args, '--data-dir', this.dataDir], { cwd: this.root, env: this.environment(), timeout: 30_000 });
  }

  /** A link that was not used yet. */
  async signInLink(): Promise<string> {
    if (this.#link !== undefined) {
      const link = this.#link;
      this.#link = undefined;
      return link;
    }
    return await this.newSignInLink();
  }

  async newSignInLink(): Promise<string> {
    const { stdout } = await this.command('sign-in-link', '--public-url', this.origin);
    const link = /https?:\/\/\S+/.exec(stdout);
    if (!link) throw new Error(`sign-in-link printed no link: ${stdout}`);
    return link[0];
  }

  /** What a shell in another folder makes of a command that a page shows. */
  async shell(command: string): Promise<string> {
    return (await run('sh', ['-c', command], { cwd: os.tmpdir(), env: this.environment(), timeout: 30_000 })).stdout;
  }

  /** The REST API with a token that may write. */
  async api(): Promise<Api> {
    this.#token ??= await this.token('write');
    return new Api(this.origin, this.#token, this.port);
  }

  async token(scope: 'read' | 'write', name = 'end2end'): Promise<string> {
    const { stdout } = await this.command('token', 'create', '--name', name, '--scope', scope);
    const token = stdout.trim();
    if (!/^fsa_\S+$/.test(token)) throw new Error(`token create printed more than the token: ${JSON.stringify(stdout)}`);
    return token;
  }

  /** The id of a token, as `token list` tells it. */
  async tokenId(name: string): Promise<string> {
    const { stdout } = await this.command('token', 'list');
    const line = stdout.split('\n').find((line) => line.includes(name));
    const id = /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(line ?? '');
    if (!id) throw new Error(`token list does not tell of ${name}:\n${stdout}`);
    return id[0];
  }

  /** Lines that this test provokes. */
  allow(...patterns: RegExp[]): void {
    this.#allowed.push(...patterns);
  }

  /** Warnings, errors and panics since the last call that nobody allowed. */
  unexpected(): string[] {
    const text = this.log.slice(this.#judged);
    this.#judged = this.log.length;
    const allowed = this.#allowed;
    this.#allowed = [];
    return text
      .replaceAll(/\x1b\[[0-9;]*m/g, '')
      .split('\n')
      // How fast the disk is, is the machine's own affair.
      .filter((line) => /\b(WARN|ERROR)\b|panicked/.test(line) && !/sqlx::query: slow statement/.test(line) && !allowed.some((pattern) => pattern.test(line)));
  }

  /** The home folder of the only project there is. */
  home(): string {
    const volumes = path.join(this.dataDir, 'volumes');
    const found = fs.readdirSync(volumes);
    if (found.length !== 1) throw new Error(`${found.length} volumes, not one`);
    return path.join(volumes, found[0]!, 'home');
  }

  processes(): string[] {
    return processesOf(this.dataDir).map(({ pid, command }) => `${pid} ${command}`);
  }

  /** `fullstack-agent down`: everything of this data folder ends. */
  async down(): Promise<void> {
    await this.command('down');
  }

  /** Ends all, removes the folder, and answers what `down` had left running. */
  async destroy(): Promise<string[]> {
    if (this.running) await this.kill9();
    const left: string[] = [];
    if (this.options.dataDir !== undefined) {
      fs.rmSync(this.root, { recursive: true, force: true });
      return left;
    }
    if (fs.existsSync(this.dataDir)) {
      try {
        if (onCluster) this.#leaveCluster();
      } catch (error) {
        left.push(`it stays on the cluster: ${String(error)}`);
      }
      await this.down().catch((error: Error) => left.push(`down failed: ${error.message}`));
      await until('down to end every process', () => this.processes().length === 0, 15_000).catch(() => undefined);
    }
    left.push(...this.processes());
    for (const { pid } of processesOf(this.dataDir)) {
      if (alive(pid)) process.kill(pid, 'SIGKILL');
    }
    fs.rmSync(this.root, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    return left;
  }

  /** Deletes what it has made on the cluster: `down` ends what is of this machine, and the next tests want the room. */
  #leaveCluster(): void {
    let installation: string;
    try {
      installation = installationOf(this);
    } catch {
      // Its PostgreSQL is not there: it never came up, or was ended with all else.
      return;
    }
    kubectl('delete', EVERYTHING, '-l', `fullstackagent.io/installation=${installation}`, '--ignore-not-found', '--wait=false');
  }
}

export function exited(child: ChildProcess): Promise<Exit> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve({ code: child.exitCode, signal: child.signalCode });
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
}

/**
 * Below the ports that the kernel gives to whoever asks for any (from 32768 on), and a part for each worker: a server has its
 * port some time after it was looked for, and again after a kill, and nobody else may have taken it meanwhile.
 */
const PORTS = { first: 12_000, each: 2_000, parts: 4 };
/** Where the search goes on. Begun anywhere, as another run on this machine takes from the same part. */
let look = Math.floor(Math.random() * PORTS.each);

/** A port that nobody has on 127.0.0.1 or ::1 now, and that was not given out lately. */
export async function freePort(): Promise<number> {
  const part = Number(process.env['TEST_PARALLEL_INDEX'] ?? 0) % PORTS.parts;
  for (let tries = 0; tries < PORTS.each; tries++) {
    const port = PORTS.first + part * PORTS.each + (look++ % PORTS.each);
    if ((await nobodyHas(port, '127.0.0.1')) && (await nobodyHas(port, '::1'))) return port;
  }
  throw new Error(`none of ${PORTS.each} ports is free`);
}

function nobodyHas(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.createServer();
    // Where there is no such address, nobody has its ports.
    probe.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code === 'EADDRNOTAVAIL' || code === 'EAFNOSUPPORT'));
    probe.listen(port, host, () => probe.close(() => resolve(true)));
  });
}
