// A stand-in for GitHub: its sign-in page, users, repositories, and git over HTTP by `git http-backend`.
//
// Server and browser know it as 127.0.0.1, which inside a sandbox is the sandbox itself. So it is its own proxy too: git inside
// is told by `http_proxy` to ask for the very same address at one that it reaches: on one machine the operator's way out
// (`--egress-allow`), on a cluster the node's, where pods get to.
import { execFileSync, spawn } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import type net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Api } from './api.ts';
import { nodeAddress, onCluster } from './cluster.ts';
import type { Server, ServerOptions } from './server.ts';

const CLIENT = 'Iv1.stand-in';
const SECRET = 'stand-in-client-secret';

interface Account {
  id: number;
  login: string;
}

export class GitHub {
  /** Who is signed in there, in the browser. */
  browser: Account = { id: 1, login: 'octocat' };
  readonly #server: http.Server;
  readonly #root = fs.mkdtempSync(path.join(os.tmpdir(), 'fsa-github-'));
  readonly #codes = new Map<string, { account: Account; challenge: string }>();
  readonly #tokens = new Map<string, Account>();
  /** By name, whether it is private. */
  readonly #served = new Map<string, boolean>();
  /** What the objects of a clone wait for. */
  #objects: Promise<void> = Promise.resolve();

  private constructor() {
    this.#server = http.createServer((request, response) => {
      this.#answer(request, response).catch((error: Error) => {
        if (!response.headersSent) response.writeHead(500);
        response.end(String(error.stack));
      });
    });
  }

  static async start(): Promise<GitHub> {
    const it = new GitHub();
    await new Promise<void>((resolve) => it.#server.listen(0, onCluster ? '0.0.0.0' : '127.0.0.1', resolve));
    return it;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    fs.rmSync(this.#root, { recursive: true, force: true });
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** How a server knows it, to sign these in; `*` is everybody. */
  accounts(...users: string[]): { args: string[]; env: Record<string, string> } {
    const allowed = users.flatMap((user) => ['--allow-github-users', user]);
    return { args: ['--github-client-id', CLIENT, '--github-url', this.origin, ...allowed], env: { FSA_GITHUB_CLIENT_SECRET: SECRET } };
  }

  /** That, and sandboxes get here too. */
  options(...users: string[]): ServerOptions {
    const { args, env } = this.accounts(...users);
    return { args: onCluster ? args : [...args, '--egress-allow', `127.0.0.1:${this.port}`], env };
  }

  /** Signs somebody in at a server without a browser: the headers of their session. */
  async signIn(server: Server, account: Account): Promise<{ cookie: string; origin: string }> {
    this.browser = account;
    const nobody = new Api(server.origin, '', server.port);
    const begun = await nobody.ask('POST', '/api/github/sign-in', { body: { next: '/' }, headers: { authorization: undefined, origin: server.origin } });
    if (begun.status !== 200) throw new Error(`the sign-in did not begin: ${begun.status} ${begun.text.slice(0, 500)}`);
    const granted = /href="([^"]*[?&;]code=[^"]*)"/.exec(await (await fetch(begun.body.url)).text());
    if (!granted) throw new Error(`GitHub's page grants nothing: ${begun.body.url}`);
    const { pathname, search } = new URL(granted[1]!.replaceAll('&amp;', '&'));
    const cookie = begun.headers['set-cookie']![0]!.split(';')[0]!;
    const answer = await nobody.ask('GET', pathname + search, { headers: { authorization: undefined, cookie } });
    const session = answer.headers['set-cookie']?.findLast((one) => one.startsWith('fsa_session='));
    if (answer.status !== 303 || session === undefined) throw new Error(`GitHub did not sign ${account.login} in: ${answer.status} ${answer.text.slice(0, 500)}`);
    return { cookie: session.split(';')[0]!, origin: server.origin };
  }

  /** What a project's variables say, so that git inside gets here. */
  get variables(): string {
    const host = onCluster ? nodeAddress() : 'host.sandbox.internal';
    return `http_proxy=http://${host}:${this.port}\nno_proxy=none.invalid\n`;
  }

  /** A repository with one commit: its address. */
  serve(name: string, isPrivate: boolean, files: Record<string, string> = { README: 'main\n' }): string {
    const work = fs.mkdtempSync(path.join(os.tmpdir(), 'fsa-work-'));
    for (const [file, text] of Object.entries(files)) fs.writeFileSync(path.join(work, file), text);
    const git = (...args: string[]) => execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@x', ...args], { cwd: work, stdio: 'pipe' });
    git('init', '-q', '-b', 'main');
    git('add', '.');
    git('commit', '-q', '-m', 'First');
    this.#bare(name, isPrivate);
    git('push', '-q', path.join(this.#root, `${name}.git`), 'main');
    fs.rmSync(work, { recursive: true });
    return `${this.origin}/${name}`;
  }

  #bare(name: string, isPrivate: boolean): void {
    const folder = path.join(this.#root, `${name}.git`);
    execFileSync('git', ['init', '-q', '--bare', '-b', 'main', folder]);
    execFileSync('git', ['-C', folder, 'config', 'http.receivepack', 'true']);
    this.#served.set(name, isPrivate);
  }

  /** What git says of a bare repository. */
  git(name: string, ...args: string[]): string {
    return execFileSync('git', ['-C', path.join(this.#root, `${name}.git`), ...args], { encoding: 'utf8' }).trim();
  }

  isPrivate(name: string): boolean | undefined {
    return this.#served.get(name);
  }

  /** Who granted access that was not ended. */
  get granted(): string[] {
    return [...this.#tokens.values()].map(({ login }) => login);
  }

  /** What that access is had by. */
  get tokens(): string[] {
    return [...this.#tokens.keys()];
  }

  /** Ends the access to an account, as its owner does on GitHub's own page. */
  revoke(login: string): void {
    for (const [token, account] of this.#tokens) if (account.login === login) this.#tokens.delete(token);
  }

  /** Clones get no objects, until the function that this gives is called. */
  hold(): () => void {
    let goOn = () => {};
    this.#objects = new Promise((resolve) => (goOn = resolve));
    return goOn;
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    // As a proxy, it is asked for whole addresses.
    const url = new URL(request.url ?? '/', this.origin);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const asked = `${request.method} ${url.pathname}`;
    if (asked === 'GET /login/oauth/authorize') return this.#page(url, response);
    if (asked === 'POST /login/oauth/access_token') return json(response, 200, this.#token(new URLSearchParams(body.toString())));
    if (url.pathname.startsWith('/api/v3/')) return this.#api(asked, request, body, response);
    const [, owner, name, ...rest] = url.pathname.split('/');
    if (rest.length > 0) return await this.#git(`${owner}/${name!.replace(/\.git$/, '')}`, rest.join('/'), url, request, body, response);
    response.writeHead(404).end();
  }

  /** The page on which access is granted. */
  #page(url: URL, response: http.ServerResponse): void {
    const get = (name: string) => url.searchParams.get(name) ?? '';
    const fits = get('client_id') === CLIENT && get('code_challenge_method') === 'S256' && get('state') !== '';
    if (!fits) return void response.writeHead(404).end('no such app');
    const code = crypto.randomUUID();
    this.#codes.set(code, { account: this.browser, challenge: get('code_challenge') });
    const back = (query: Record<string, string>) => `${get('redirect_uri')}?${new URLSearchParams({ ...query, state: get('state') })}`.replaceAll('&', '&amp;');
    response.writeHead(200, { 'content-type': 'text/html' }).end(
      `<!doctype html><html lang="en"><title>Authorize</title><link rel="icon" href="data:,"><main><h1>Authorize as ${this.browser.login}</h1>` +
        `<a href="${back({ code })}">Authorize</a> <a href="${back({ error: 'access_denied' })}">Cancel</a></main>`,
    );
  }

  #token(form: URLSearchParams): object {
    const code = this.#codes.get(form.get('code') ?? '');
    this.#codes.delete(form.get('code') ?? '');
    const challenge = crypto.createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url');
    if (form.get('client_secret') !== SECRET || !code || code.challenge !== challenge) return { error: 'bad_verification_code', error_description: 'No.' };
    const token = `gho_${crypto.randomUUID()}`;
    this.#tokens.set(token, code.account);
    return { access_token: token, token_type: 'bearer', scope: 'read:user,user:email,repo' };
  }

  #api(asked: string, request: http.IncomingMessage, body: Buffer, response: http.ServerResponse): void {
    if (asked.startsWith('DELETE /api/v3/applications/')) {
      const { access_token: token } = JSON.parse(body.toString()) as { access_token: string };
      return void response.writeHead(this.#tokens.delete(token) ? 204 : 404).end();
    }
    const account = this.#tokens.get(request.headers.authorization?.replace(/^Bearer /, '') ?? '');
    if (!account) return json(response, 401, { message: 'Bad credentials' });
    // Everything there is the account's to push to, but what belongs to `stranger`.
    const shown = (name: string) => ({
      full_name: name,
      clone_url: `${this.origin}/${name}.git`,
      private: this.#served.get(name),
      default_branch: 'main',
      description: null,
      pushed_at: '2026-01-02T03:04:05Z',
      created_at: '2026-01-02T03:04:05Z',
      permissions: { admin: false, push: ownerOf(name) !== 'stranger', pull: true },
      owner: { login: ownerOf(name), type: ownerOf(name) === account.login ? 'User' : 'Organization' },
    });
    if (asked === 'GET /api/v3/user') return json(response, 200, { ...account, name: null, email: null });
    if (asked === 'GET /api/v3/user/repos') return json(response, 200, [...this.#served.keys()].map(shown));
    const owner = asked === 'POST /api/v3/user/repos' ? account.login : /^POST \/api\/v3\/orgs\/([^/]+)\/repos$/.exec(asked)?.[1];
    // It knows an organization by what that has.
    if (owner === account.login || [...this.#served.keys()].some((name) => ownerOf(name) === owner)) {
      const wish = JSON.parse(body.toString()) as { name: string; private: boolean };
      const name = `${owner}/${wish.name}`;
      if (this.#served.has(name)) return json(response, 422, { message: 'Failed.', errors: [{ message: 'name already exists on this account' }] });
      this.#bare(name, wish.private);
      return json(response, 201, shown(name));
    }
    const one = /^GET \/api\/v3\/repos\/(.+)$/.exec(asked)?.[1];
    if (one && this.#served.has(one)) return json(response, 200, shown(one));
    json(response, 404, { message: 'Not Found' });
  }

  async #git(name: string, rest: string, url: URL, request: http.IncomingMessage, body: Buffer, response: http.ServerResponse): Promise<void> {
    const basic = /^Basic (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    const known = basic !== undefined && this.#tokens.has(Buffer.from(basic, 'base64').toString().split(':').slice(1).join(':'));
    const writes = `${rest}${url.search}`.includes('git-receive-pack');
    if (basic === undefined && (writes || this.#served.get(name) !== false)) {
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="GitHub"' }).end();
    }
    if (!this.#served.has(name) || (!known && (writes || this.#served.get(name)))) return void response.writeHead(404).end('Repository not found.');
    if (rest === 'git-upload-pack') await this.#objects;
    const backend = spawn('git', ['http-backend'], {
      env: {
        ...process.env,
        GIT_PROJECT_ROOT: this.#root,
        GIT_HTTP_EXPORT_ALL: '1',
        PATH_INFO: `/${name}.git/${rest}`,
        QUERY_STRING: url.search.slice(1),
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
        GIT_PROTOCOL: (request.headers['git-protocol'] as string | undefined) ?? '',
        CONTENT_LENGTH: String(body.length),
        REMOTE_USER: 'x',
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    backend.stdin.on('error', () => {});
    backend.stdin.end(body);
    const out: Buffer[] = [];
    for await (const chunk of backend.stdout) out.push(chunk as Buffer);
    const all = Buffer.concat(out);
    const end = all.indexOf('\r\n\r\n');
    const headers: Record<string, string> = {};
    let status = 200;
    for (const line of all.subarray(0, end).toString().split('\r\n')) {
      const at = line.indexOf(': ');
      if (line.startsWith('Status: ')) status = Number(line.slice(8, 11));
      else headers[line.slice(0, at)] = line.slice(at + 2);
    }
    response.writeHead(status, headers).end(all.subarray(end + 4));
  }
}

const ownerOf = (name: string): string => name.split('/')[0]!;

function json(response: http.ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
