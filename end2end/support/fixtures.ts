// What every journey starts with: a server (one for all of a worker's, in a fresh data folder), a signed-in page, a
// project. And what every journey must leave behind: a quiet log and a quiet console.
import { type BrowserContext, type Page, test as base, expect } from '@playwright/test';
import fs from 'node:fs';
import type { Api, Project } from './api.ts';
import { onCluster } from './cluster.ts';
import { Server, type ServerOptions } from './server.ts';

interface Journey {
  /** A server of this test's own. */
  ownServer: (options?: ServerOptions) => Promise<Server>;
  api: Api;
  /** A running project with a database, deleted afterwards. */
  project: Project;
  /** A page of a browser that is signed in. */
  signedIn: Page;
  /** Another browser: its own cookies, signed in or not; without `scripts`, one that runs none. */
  visitor: (how?: { signedIn?: boolean; server?: Server; scripts?: boolean }) => Promise<BrowserContext>;
  /** Console errors and page errors that this test provokes. */
  allowConsole: (...patterns: RegExp[]) => void;
  watch: void;
}

interface Shared {
  server: Server;
}

interface Console {
  lines: string[];
  allowed: RegExp[];
}

const consoles = new WeakMap<object, Console>();
let current: Console = { lines: [], allowed: [] };

export const test = base.extend<Journey, Shared>({
  server: [
    async ({}, use) => {
      const server = await Server.start();
      await use(server);
      const left = await server.destroy();
      if (left.length > 0) throw new Error(`\`fullstack-agent down\` left running:\n${left.join('\n')}`);
    },
    { scope: 'worker', timeout: 90_000 },
  ],

  ownServer: async ({}, use, info) => {
    const servers: Server[] = [];
    await use(async (options) => {
      const server = await Server.start(options);
      servers.push(server);
      return server;
    });
    const noise: string[] = [];
    for (const server of servers) {
      if (info.status !== info.expectedStatus) fs.writeFileSync(info.outputPath(`server-${server.port}.log`), server.log);
      noise.push(...server.unexpected());
      const left = await server.destroy();
      if (left.length > 0) noise.push(`\`fullstack-agent down\` left running: ${left.join('; ')}`);
    }
    expect(noise, 'the log of this server has no unexpected WARN, ERROR or panic').toEqual([]);
  },

  api: async ({ server }, use) => use(await server.api()),

  project: async ({ api }, use, info) => {
    const name = `${info.title.replaceAll(/[^A-Za-z0-9 ]/g, '').slice(0, 40)} ${Date.now() % 100_000}`;
    const project = await api.running(name, { database: true });
    await use(project);
    await api.remove(project.id);
  },

  visitor: async ({ browser, server }, use) => {
    const contexts: BrowserContext[] = [];
    await use(async ({ signedIn = true, server: of = server, scripts = true } = {}) => {
      const context = await browser.newContext({
        baseURL: of.origin,
        javaScriptEnabled: scripts,
        ...(signedIn ? { storageState: await signIn(browser, of) } : {}),
      });
      listen(context);
      if (onCluster) patient(context);
      contexts.push(context);
      return context;
    });
    await Promise.all(contexts.map((context) => context.close()));
  },

  signedIn: async ({ visitor }, use) => {
    const context = await visitor();
    await use(await context.newPage());
  },

  allowConsole: async ({}, use) => use((...patterns) => void current.allowed.push(...patterns)),

  watch: [
    async ({ server }, use) => {
      current = { lines: [], allowed: [] };
      await use();
      const { lines, allowed } = current;
      const loud = lines.filter((line) => !allowed.some((pattern) => pattern.test(line)));
      expect.soft(loud, 'the console of the browser has no errors and no warnings').toEqual([]);
      expect.soft(server.unexpected(), 'the log of the server has no unexpected WARN, ERROR or panic').toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

type State = Awaited<ReturnType<BrowserContext['storageState']>>;
const states = new WeakMap<Server, State>();

/** Signs a browser in by a link, once a server; the cookies serve all later ones. */
async function signIn(browser: import('@playwright/test').Browser, server: Server): Promise<State> {
  const known = states.get(server);
  if (known) return known;
  const context = await browser.newContext({ baseURL: server.origin });
  listen(context);
  const page = await context.newPage();
  await page.goto(await server.signInLink());
  await page.waitForURL((url) => !url.pathname.startsWith('/sign-in'));
  const state = await context.storageState();
  states.set(server, state);
  await context.close();
  return state;
}

/** Pods come and go with network devices of their own, at which Chromium may end what it is asking: that page is asked for again. */
function patient(context: BrowserContext): void {
  context.on('page', (page) => {
    const goto = page.goto.bind(page);
    page.goto = async (...how) => {
      for (let left = 3; ; left -= 1) {
        try {
          return await goto(...how);
        } catch (error) {
          if (left === 0 || !String(error).includes('ERR_NETWORK_CHANGED')) throw error;
        }
      }
    };
  });
}

/** Every page of a context tells its console to the test that runs. */
function listen(context: BrowserContext): void {
  if (consoles.has(context)) return;
  const told = current;
  consoles.set(context, told);
  context.on('console', (message) => {
    if (message.type() !== 'error' && message.type() !== 'warning') return;
    // The preview's frame needs both, and they give its page nothing of ours: it is of another site. Chromium
    // warns when the frame is made, while it is still empty and as such of our own origin.
    if (/An iframe which has both allow-scripts and allow-same-origin/.test(message.text())) return;
    // What the sandbox's own application says is its own affair.
    const from = message.location().url;
    if (/\/\/\d+--/.test(from)) return;
    // A page lists the terminals of what runs; where it has just stopped running, the answer says so before the
    // stream does, and the page takes it.
    if (/status of 409/.test(message.text()) && from.endsWith('/terminals')) return;
    // Likewise what is shared of a project that has just been deleted.
    if (/status of 404/.test(message.text()) && from.endsWith('/shares')) return;
    told.lines.push(`${message.type()}: ${message.text()} (${from})`);
  });
  // One without frames, as a fetch that was cut off, has an empty stack.
  context.on('weberror', (error) => told.lines.push(`uncaught: ${error.error().stack || error.error().message}`));
}
