// The real Claude Code, against a stand-in for its API: configured, and asks nothing before it answers.
import { ONE_MACHINE, onCluster } from '../support/cluster.ts';
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from '../support/fixtures.ts';
import { inspect } from '../support/inspect.ts';
import { MessagesApi } from '../support/messages-api.ts';
import { Workspace, hydrated } from '../support/pages.ts';
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

// Claude Code takes seconds to come up, and more where the machine does other things as well.
test.describe.configure({ timeout: 180_000 });
test.beforeEach(() => test.skip(!installed(), 'Claude Code is not installed here (FSA_CLAUDE_DIR)'));

for (const [credential, header] of [
  ['ANTHROPIC_API_KEY', 'x-api-key'],
  ['ANTHROPIC_AUTH_TOKEN', 'authorization'],
] as const) {
  test(`claude -p answers, with ${credential} of the operator`, async ({ ownServer, visitor }) => {
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

      // Its page says whose they are, and that they are not changed there.
      const page = await (await visitor({ server })).newPage();
      await page.goto(`/projects/${project.id}/environment`);
      await hydrated(page);
      const row = (key: string) => page.getByRole('row').filter({ has: page.getByText(key, { exact: true }) });
      for (const key of [credential, 'ANTHROPIC_BASE_URL']) {
        await expect(row(key), key).toContainText('Operator');
        await expect(row(key).getByRole('button'), key).toHaveCount(0);
      }
      // One's own take their place, with the address to which only theirs are sent.
      const own = { kind: credential === 'ANTHROPIC_API_KEY' ? 'apiKey' : 'authToken', value: 'sk-test-own-0123456789' };
      await api.must('PUT', '/api/claude', { body: own });
      await page.reload();
      await hydrated(page);
      await expect(row(credential)).toContainText('Account');
      await expect(row(credential)).toContainText('waits for restart');
      await expect(row(credential).getByRole('button')).toHaveCount(0);
      await expect(row('ANTHROPIC_BASE_URL')).toHaveCount(0);
      for (const value of [secret, own.value]) expect(await page.content(), 'no secret in the page').not.toContain(value);
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
    await terminal.sees(INPUT_LINE, 60_000);
    const before = await terminal.text();
    expect(before).not.toMatch(/choose the text style|do you trust|use this api key|select login|sign in to|log in/i);
    await terminal.type('say hi please');
    await terminal.sees(/say hi please/);
    await workspace.page.keyboard.press('Enter');
    await terminal.sees(/Hi from the stand-in\./, 60_000);
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
    await terminal.sees(INPUT_LINE, 60_000);
    await terminal.type('say hi before');
    await terminal.sees(/say hi before/);
    const goOn = messages.hold();
    await workspace.page.keyboard.press('Enter');
    await until('the answer to begin', () => messages.prompts.some((prompt) => prompt.includes('say hi before')));
    await server.kill9();
    goOn();
    await server.restart();
    await terminal.live(60_000);
    await terminal.sees(/Hi from the stand-in/, 60_000);
  } finally {
    await messages.stop();
  }
});

/** The stand-in as a sandbox reaches it, where the operator has opened a way to it. */
const fromInside = (messages: MessagesApi) => (onCluster ? messages.origin : `http://host.sandbox.internal:${new URL(messages.origin).port}`);

test('without credentials of the operator, one sets their own in the settings, and Claude Code answers after "Restart now"', async ({ ownServer, visitor, allowConsole }) => {
  allowConsole(/status of 422/);
  const messages = await MessagesApi.start();
  const secret = 'sk-test-own-0123456789abcdefghij';
  try {
    const way = new URL(messages.origin).host;
    const server = await ownServer({ args: onCluster ? [] : ['--egress-allow', way] });
    const api = await server.api();
    const project = await api.running('Own key');
    const page = await (await visitor({ server })).newPage();
    await page.goto('/settings#claude');
    await hydrated(page);
    const panel = page.getByRole('region', { name: 'Claude Code' });
    await expect(panel.getByRole('heading', { name: 'No credentials' })).toBeVisible();
    await expect(panel).toContainText('.secret/.env');

    // What is wrong is said beside its field, which has the focus; what was typed stays.
    await panel.getByRole('button', { name: 'Set your own' }).click();
    const [key, url, save] = [panel.getByLabel('Key or token'), panel.getByLabel('Base URL'), panel.getByRole('button', { name: 'Save' })];
    await expect(key).toBeFocused();
    await save.click();
    await expect(panel.getByText('There is no key or token in it.')).toBeVisible();
    await expect(key).toBeFocused();
    await key.fill(secret);
    await url.fill('gateway.example');
    await save.click();
    await expect(panel.getByText('A base URL begins with https://')).toBeVisible();
    await expect(url).toBeFocused();
    await expect(key).toHaveValue(secret);
    await expect(panel.getByText('There is no key or token in it.')).toBeHidden();
    await inspect(page, 'settings-claude-refused');
    await url.fill(fromInside(messages));
    await url.press('Enter');

    await expect(panel.getByRole('status')).toContainText('Saved.');
    await expect(panel.getByRole('heading', { name: /^API key/ })).toBeVisible();
    await expect(panel).toContainText('It ends in ghij.');
    await expect(panel.getByRole('button', { name: 'Replace' })).toBeFocused();
    expect(await page.content()).not.toContain(secret);
    await inspect(page, 'settings-claude');

    // What runs has none yet, and the panel leads to where it gets them.
    expect(await api.output(project.id, 'echo "<$ANTHROPIC_API_KEY>"')).toBe('<>\n');
    await panel.getByRole('link', { name: 'Own key' }).click();
    await expect(page.getByRole('row').filter({ hasText: 'ANTHROPIC_API_KEY' })).toContainText('Account');
    const generation = (await api.sandbox(project.id)).generation;
    await page.getByRole('button', { name: 'Restart now' }).click();
    await until('the restart', async () => (await api.sandbox(project.id)).generation > generation || undefined);
    await api.reaches(project.id, 'Running');
    const answer = await api.exec(project.id, 'claude -p "say hi" < /dev/null', { timeoutMs: 60_000 });
    expect(answer, answer.stderr).toMatchObject({ code: 0 });
    expect(answer.stdout).toContain('Hi from the stand-in.');
    expect(messages.asked.find(({ prompt }) => prompt.includes('say hi'))!.headers['x-api-key']).toBe(secret);
    expect(server.log, 'no secret in the log').not.toContain(secret);

    // The terminal's note of missing credentials is not there any more.
    await new Workspace(page).open(project.id);
    await new Workspace(page).terminal().prompt();
    await expect(page.getByText('Claude Code has no credentials yet.')).toHaveCount(0);

    await page.goto('/settings');
    await hydrated(page);
    const remove = panel.getByRole('button', { name: 'Remove your Claude credentials' });
    await remove.click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Keep them' }).click();
    await expect(remove).toBeFocused();
    await remove.click();
    await page.getByRole('alertdialog').getByRole('button', { name: 'Remove them' }).click();
    await expect(panel.getByRole('heading', { name: 'No credentials' })).toBeVisible();
    await expect(panel.getByRole('button', { name: 'Set your own' })).toBeFocused();
    await expect(panel.getByRole('link', { name: 'Own key' }), 'it still runs with them').toBeVisible();
    expect(await api.output(project.id, 'echo "$ANTHROPIC_API_KEY"')).toBe(`${secret}\n`);
    await api.act(project.id, 'restart');
    await api.reaches(project.id, 'Running');
    expect(await api.output(project.id, 'echo "<$ANTHROPIC_API_KEY$ANTHROPIC_BASE_URL>"')).toBe('<>\n');
    const told = await api.must('GET', '/api/activity?kind=account');
    const titles = told.activity.map(({ title }: { title: string }) => title);
    expect(titles).toEqual(expect.arrayContaining(['Set Claude credentials', 'Removed Claude credentials']));
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

// On a cluster it is in the image.
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
