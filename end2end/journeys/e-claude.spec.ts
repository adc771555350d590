// The real Claude Code, against a stand-in for its API: configured, and asks nothing before it answers.
import { ONE_MACHINE, onCluster } from '../support/cluster.ts';
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from '../support/fixtures.ts';
import { MessagesApi } from '../support/messages-api.ts';
import { Workspace } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

const installed = () => {
  // It is in the image.
  if (onCluster) return true;
  const folder = process.env['FSA_CLAUDE_DIR'];
  return folder !== undefined && fs.existsSync(path.join(folder, 'node_modules/@anthropic-ai/claude-code'));
};

/** The line that Claude Code takes a prompt in. */
const INPUT_LINE = /(^|\n)\s*[│|]?\s*[❯>]\s/;

test.beforeEach(() => test.skip(!installed(), 'Claude Code is not installed here (FSA_CLAUDE_DIR)'));

for (const [credential, header] of [
  ['ANTHROPIC_API_KEY', 'x-api-key'],
  ['ANTHROPIC_AUTH_TOKEN', 'authorization'],
] as const) {
  test(`claude -p answers, with ${credential} of the operator`, async ({ ownServer }) => {
    const messages = await MessagesApi.start();
    const secret = 'sk-test-0123456789abcdefghijklmnopqrstuvwxyz';
    try {
      const server = await ownServer({ secret: { [credential]: secret, ANTHROPIC_BASE_URL: messages.origin } });
      const api = await server.api();
      const project = await api.running('Asks once');
      const answer = await api.exec(project.id, 'claude -p "say hi" < /dev/null', { timeoutMs: 60_000 });
      expect(answer, answer.stderr).toMatchObject({ code: 0 });
      expect(answer.stdout).toContain('Hi from the stand-in.');
      expect(messages.prompts.some((prompt) => prompt.includes('say hi'))).toBe(true);
      const asked = messages.asked.find(({ prompt }) => prompt.includes('say hi'))!;
      expect(asked.headers[header]).toContain(secret);
      expect(server.log, 'no secret in the log').not.toContain(secret);
    } finally {
      await messages.stop();
    }
  });
}

test('claude, typed for the first time, takes a prompt and answers, with no dialog before', async ({ ownServer, visitor }) => {
  const messages = await MessagesApi.start();
  try {
    const server = await ownServer({ secret: { ANTHROPIC_API_KEY: 'sk-test-0123456789abcdefghijklmnop', ANTHROPIC_BASE_URL: messages.origin } });
    const api = await server.api();
    const project = await api.running('First launch');
    const workspace = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
    const terminal = await workspace.terminal().prompt();
    await terminal.enter('claude');
    // Its input line; whatever it asks first would have stood in its place.
    await terminal.sees(INPUT_LINE, 30_000);
    const before = await terminal.text();
    expect(before).not.toMatch(/choose the text style|do you trust|use this api key|select login|sign in to|log in/i);
    await terminal.type('say hi please');
    await terminal.sees(/say hi please/);
    await workspace.page.keyboard.press('Enter');
    await terminal.sees(/Hi from the stand-in\./, 30_000);
    expect(messages.prompts.some((prompt) => prompt.includes('say hi please'))).toBe(true);
  } finally {
    await messages.stop();
  }
});

test('Claude Code survives a kill of the server in the middle of its answer', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/ERR_|WebSocket|Failed to fetch|NetworkError|network error/);
  const messages = await MessagesApi.start();
  try {
    const server = await ownServer({ secret: { ANTHROPIC_AUTH_TOKEN: 'token-0123456789', ANTHROPIC_BASE_URL: messages.origin } });
    const api = await server.api();
    const project = await api.running('Half way');
    const workspace = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
    const terminal = await workspace.terminal().prompt();
    await terminal.enter('claude');
    await terminal.sees(INPUT_LINE, 30_000);
    await terminal.type('say hi before');
    await terminal.sees(/say hi before/);
    const goOn = messages.hold();
    await workspace.page.keyboard.press('Enter');
    await until('the answer to begin', () => messages.prompts.some((prompt) => prompt.includes('say hi before')));
    await server.kill9();
    goOn();
    await server.restart();
    await terminal.live(30_000);
    await terminal.sees(/Hi from the stand-in/, 30_000);
  } finally {
    await messages.stop();
  }
});

test('without credentials the terminal works and says how to get them', async ({ ownServer, visitor }) => {
  const server = await ownServer();
  const api = await server.api();
  const project = await api.running('No key');
  const workspace = await new Workspace(await (await visitor({ server })).newPage()).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await expect(workspace.page.getByText('ANTHROPIC_API_KEY').first()).toBeVisible();
  await expect(workspace.page.getByText('.secret/.env').first()).toBeVisible();
  await terminal.enter('echo works-$((6*7))');
  await terminal.sees(/works-42/);
});

test('without Claude Code the terminal works and says how to get it', ONE_MACHINE, async ({ ownServer }) => {
  const server = await ownServer({ claudeDir: '/nowhere' });
  server.allow(/--claude-dir \/nowhere/);
  const api = await server.api();
  const project = await api.running('No Claude');
  const terminal = await Terminal.open(api, project.id);
  await terminal.prompt();
  const said = await terminal.run('claude');
  expect(said).toMatch(/Claude Code is not|not installed|npm install|FSA_CLAUDE_DIR|--claude-dir/i);
  expect(await terminal.run('echo works-$((6*7))')).toContain('works-42');
});
