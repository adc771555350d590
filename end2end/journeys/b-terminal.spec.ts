// The terminal: real programs, the same shell after leaving, the same screen for two.
import { ALONE } from '../support/alone.ts';
import { CHROMIUM } from '../support/chromium.ts';
import { ONE_MACHINE } from '../support/cluster.ts';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Page, chromium } from '@playwright/test';
import { expect, test } from '../support/fixtures.ts';
import { Workspace } from '../support/pages.ts';
import { Terminal } from '../support/terminal.ts';
import { until } from '../support/until.ts';

const here = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

test('psql, without any argument, reaches the database of the project', async ({ api, project }) => {
  const terminal = await Terminal.open(api, project.id);
  await terminal.prompt();
  expect(await terminal.run("psql -At -c 'select 6*7'")).toMatch(/^42$/m);
  expect(await terminal.run('echo "$NODE_ENV"')).toMatch(/^development$/m);
  expect(await terminal.run('psql "$POSTGRES_URL" -At -c "select 6*9"')).toMatch(/^54$/m);
  expect(terminal.faults).toEqual([]);
});

test('a command run by REST gives its true end, and streams where asked to', async ({ api, project }) => {
  expect(await api.exec(project.id, 'echo out; echo err >&2; exit 7')).toMatchObject({ code: 7, stdout: 'out\n', stderr: 'err\n' });
  expect(await api.exec(project.id, 'kill -9 $$')).toMatchObject({ code: 137, signal: 9 });
  expect(await api.exec(project.id, ['cat'], { stdin: 'ä\n' })).toMatchObject({ code: 0, stdout: 'ä\n' });
  expect((await api.exec(project.id, 'sleep 60', { timeoutMs: 300 })).code).toBe(124);
  const streamed = await api.ask('POST', `/api/sandbox/${project.id}/exec`, {
    body: { command: ['bash', '-c', 'echo one; echo two'] },
    headers: { accept: 'application/x-ndjson' },
  });
  const lines = streamed.text.trim().split('\n').map((line) => JSON.parse(line));
  expect(lines.at(-1)).toEqual({ exit: { code: 0 } });
  expect(lines.slice(0, -1).map(({ data }) => data).join('')).toBe('one\ntwo\n');
});

test('psycopg connects with POSTGRES_URL', async ({ api, project }) => {
  const there = await api.exec(project.id, ['/usr/bin/python3', '-c', 'import psycopg2']);
  test.skip(there.code !== 0, 'python3-psycopg2 is not on this machine, and sandboxes see its /usr');
  const program = 'import os, psycopg2; c = psycopg2.connect(os.environ["POSTGRES_URL"]).cursor(); c.execute("select 6*7"); print(c.fetchone()[0])';
  expect(await api.output(project.id, ['/usr/bin/python3', '-c', program])).toBe('42\n');
});

test('node-postgres connects with DATABASE_URL', async ({ api, project }) => {
  // As npm would have put it there; whether npm has a way out is another test's question.
  const packed = execFileSync('tar', ['-cz', '-C', here, ...runtimePackages('pg')], { maxBuffer: 64 << 20 });
  await api.output(project.id, 'mkdir -p app && base64 -d | tar -xz -C app', { stdin: packed.toString('base64') });
  const program = `
    const { Client } = require('pg');
    (async () => {
      const client = new Client({ connectionString: process.env.DATABASE_URL });
      await client.connect();
      console.log((await client.query('select 6*7 as answer')).rows[0].answer);
      await client.end();
    })();`;
  expect(await api.output(project.id, `cd app && node -e "$0"`.replace('$0', program.replaceAll('"', '\\"')))).toBe('42\n');
});

// Pods of the test cluster have no way out.
test('npm install, git clone, curl and fetch reach the internet', ONE_MACHINE, async ({ api, project }) => {
  const registry = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim();
  const out = await fetch(new URL('is-number', registry), { signal: AbortSignal.timeout(10_000) }).then(
    (answer) => answer.ok,
    () => false,
  );
  test.skip(!out, 'this machine has no way out to an npm registry');
  const address = new URL('is-number', registry).href;
  expect(await api.output(project.id, `curl -fsS -o /dev/null -w '%{http_code}' '${address}'`)).toBe('200');
  expect(await api.output(project.id, ['node', '-e', `fetch(${JSON.stringify(address)}).then((answer) => console.log(answer.status))`])).toBe('200\n');
  await api.output(project.id, `mkdir -p web && cd web && npm init -y && npm install --registry '${registry}' --no-audit --no-fund is-number`);
  expect(await api.output(project.id, `cd web && node -p "require('is-number')(42)"`)).toBe('true\n');
});

test('closing the tab and coming back finds the same shell and scrollback', async ({ visitor, project }) => {
  const context = await visitor();
  const first = await new Workspace(await context.newPage()).open(project.id);
  const terminal = await first.terminal().prompt();
  await terminal.enter('here=$$; seq -f "line %g" 1 300; echo shell-$((here))-');
  const shell = (await terminal.sees(/^shell-(\d+)-/m))[1];
  await first.page.close();

  const second = await new Workspace(await context.newPage()).open(project.id);
  const again = await second.terminal().live();
  const text = await again.sees(/^shell-\d+-/m).then(() => again.text());
  for (const line of ['line 1', 'line 150', 'line 300']) expect(text.split('\n').map((l) => l.trimEnd())).toContain(line);
  await again.enter('echo still-$((here))-$$-');
  await again.sees(new RegExp(`^still-${shell}-${shell}-`, 'm'));
});

test('coming back types nothing into the shell', async ({ visitor, project }) => {
  const context = await visitor();
  const workspace = await new Workspace(await context.newPage()).open(project.id);
  const terminal = await workspace.terminal().prompt();
  // A question that terminals answer (who are you?), then a program that shows whatever is typed.
  await terminal.enter(String.raw`stty -echo; printf 'ask\033[c\033[6n'; cat -v`);
  await terminal.sees(/^ask/m);
  await terminal.enter('mark-one');
  await terminal.sees(/\^\[\[\?[\d;]+c.*mark-one/);
  const before = await workspace.terminal().text();
  await workspace.page.reload();
  const again = await workspace.terminal().live();
  await again.sees(/mark-one/);
  await again.enter('mark-two');
  await again.sees(/mark-two/);
  const answers = (text: string) => text.match(/\^\[\[/g)?.length ?? 0;
  expect(answers(await again.text()), `before:\n${before}\nafter:\n${await again.text()}`).toBe(answers(before));
  await workspace.page.keyboard.press('Control+c');
});

test('two viewers see the same, and both can type', async ({ visitor, project }) => {
  const one = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const two = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await one.terminal().prompt();
  await two.terminal().prompt();
  await one.terminal().enter('echo from-$((1))-viewer');
  await two.terminal().sees(/^from-1-viewer/m);
  await two.terminal().enter('echo from-$((2))-viewer');
  await one.terminal().sees(/^from-2-viewer/m);
  const text = async (workspace: Workspace) => (await workspace.terminal().text()).replaceAll(/\s+/g, ' ').trim();
  await until('both to show the same', async () => (await text(one)) === (await text(two)));
  // An emoji is two cells wide, as programs count it: what follows is in the third.
  await two.terminal().enter(String.raw`printf '\360\237\230\200x\n'`);
  const cells = () =>
    one.page.evaluate(() => {
      const { active } = (window as any).__terminals.main.terminal.buffer;
      const lines = Array.from({ length: active.length }, (_, row) => active.getLine(row));
      const line = lines.find((line) => line.getCell(0).getChars() === '😀');
      return line && [line.getCell(0).getWidth(), line.getCell(2).getChars()];
    });
  await expect.poll(cells).toEqual([2, 'x']);
});

test('a shell that is ended elsewhere is over here too, and comes back only by Enter', async ({ api, project, visitor }) => {
  const { page } = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const terminal = await new Workspace(page).terminal().prompt();
  await terminal.enter('of_before=1');
  await api.must('DELETE', `/api/sandbox/${project.id}/terminal/main`);
  await terminal.sees(/The shell ended\. Press Enter to start a new one\./);
  expect(await terminal.state()).toBe('ended');
  // What has a terminal look for its connection.
  await page.evaluate(() => (window.dispatchEvent(new Event('online')), (window as any).__terminals.main.poke()));
  await terminal.type('x');
  const shells = await api.must<{ name: string; exited?: number | null }[]>('GET', `/api/sandbox/${project.id}/terminals`);
  expect(shells.filter(({ name, exited }) => name === 'main' && (exited ?? null) === null)).toEqual([]);
  await page.keyboard.press('Enter');
  await terminal.live();
  await terminal.enter('echo new-${of_before-none}-');
  await terminal.sees(/^new-none-/m);
});

test('a viewer that lost its connection gets every byte once and types each key once', async ({ api, project }) => {
  const terminal = await Terminal.open(api, project.id);
  await terminal.prompt();
  const before = terminal.end;
  terminal.type("i=0; while [ $i -lt 2000 ]; do echo row-$i; i=$((i+1)); done; echo fin''ished\r");
  await terminal.sees(/row-100\n/, before);
  terminal.drop();
  terminal.type('echo typed-$((40+2))-while-away\r');
  await terminal.reconnect();
  await terminal.sees(/typed-42-while-away/, before);
  expect(terminal.faults).toEqual([]);
  expect(terminal.skipped).toBe(0);
  const rows = terminal.text(before).match(/^row-\d+/gm) ?? [];
  expect(rows).toEqual(Array.from({ length: 2000 }, (_, index) => `row-${index}`));
  expect(terminal.text(before).match(/^typed-42-while-away/gm)).toHaveLength(1);
});

test('Ctrl-C ends yes at once, and the tab goes on', async ({ visitor, project }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const terminal = await workspace.terminal().prompt();
  await terminal.enter('yes');
  await terminal.sees(/(y\n){100}/);
  await terminal.focus();
  await workspace.page.keyboard.press('Control+c');
  await terminal.enter('echo after-$((6*7))');
  await terminal.sees(/^after-42/m, 30_000);
});

test('a second terminal is a shell of its own', async ({ visitor, project }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  await (await workspace.terminal().prompt()).enter('only_here=1; echo one-${only_here-none}-');
  await workspace.terminal().sees(/^one-1-/m);
  await workspace.page.getByRole('button', { name: 'New terminal' }).first().click();
  const name = await until('a second terminal', async () =>
    workspace.page.evaluate(() => Object.keys((window as any).__terminals ?? {}).find((session) => session !== 'main')),
  );
  const second = await workspace.terminal(name).prompt();
  await second.enter('echo two-${only_here-none}-');
  await second.sees(/^two-none-/m);
});

test('the output is searched by keyboard: matches are counted and stepped through, and Escape leads back into the terminal', async ({ visitor, project }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  const terminal = await workspace.terminal().prompt();
  await terminal.enter("seq -f 'needle-%g in hay' 60; echo over-$((1))-");
  await terminal.sees(/^over-1-/m);
  await terminal.prompt();
  const bar = page.getByRole('search');
  const field = bar.getByRole('textbox', { name: 'Search the output' });
  const count = bar.getByRole('status');
  /** What is chosen, the line that it is in, and whether that line can be seen. */
  const chosen = () =>
    page.evaluate(() => {
      const { terminal } = (window as any).__terminals.main;
      const { active } = terminal.buffer;
      const row: number | undefined = terminal.getSelectionPosition()?.start.y;
      if (row === undefined) return 'nothing';
      const seen = row >= active.viewportY && row < active.viewportY + terminal.rows;
      return `${terminal.getSelection()} of ${active.getLine(row).translateToString(true)}${seen ? '' : ', out of sight'}`;
    });

  // Typed letter by letter, it is the oldest match of the whole, not the next one at each letter.
  await page.keyboard.press('Control+Shift+F');
  await expect(field).toBeFocused();
  await page.keyboard.type('needle-1');
  await expect(count).toHaveText('1 of 11');
  await expect.poll(chosen).toBe('needle-1 of needle-1 in hay');
  await page.keyboard.press('Enter');
  await expect(count).toHaveText('2 of 11');
  await expect.poll(chosen).toBe('needle-1 of needle-10 in hay');
  await page.keyboard.press('Shift+Enter');
  await expect(count).toHaveText('1 of 11');
  await page.keyboard.press('Shift+Enter');
  await expect(count, 'from the first to the last').toHaveText('11 of 11');
  await expect.poll(chosen).toBe('needle-1 of needle-19 in hay');
  await bar.getByRole('button', { name: 'Next match' }).click();
  await expect(count, 'and back').toHaveText('1 of 11');
  await bar.getByRole('button', { name: 'Previous match' }).click();
  await expect(count).toHaveText('11 of 11');
  await field.fill('no such straw');
  await expect(count).toHaveText('No match');
  await expect.poll(chosen).toBe('nothing');
  await field.fill('needle-60');
  await expect(count).toHaveText('1 of 1');

  // From the terminal back into the field, which keeps what stands in it.
  await terminal.focus();
  await page.keyboard.press('Control+Shift+F');
  await expect(field).toBeFocused();
  await expect(field).toHaveValue('needle-60');
  await expect(count).toHaveText('1 of 1');

  await page.keyboard.press('Escape');
  await expect(bar).toHaveCount(0);
  await expect(page.locator('#terminal-main .xterm-helper-textarea')).toBeFocused();
  await expect.poll(chosen, 'what was marked is no longer').toBe('nothing');
  await page.keyboard.type('echo back-$((6*7))');
  await page.keyboard.press('Enter');
  await terminal.sees(/^back-42$/m);

  // The button does the same.
  const button = page.getByRole('button', { name: 'Search the output' });
  await expect(button).toHaveAttribute('aria-expanded', 'false');
  await button.click();
  await expect(field).toBeFocused();
  await expect(field, 'a new search').toHaveValue('');
  await expect(button).toHaveAttribute('aria-expanded', 'true');
  await bar.getByRole('button', { name: 'Close the search' }).click();
  await expect(bar).toHaveCount(0);
  await expect(page.locator('#terminal-main .xterm-helper-textarea')).toBeFocused();
});

test('an address in the output is opened by a click, in a tab of its own', async ({ visitor, project, server }) => {
  const workspace = await new Workspace(await (await visitor()).newPage()).open(project.id);
  const { page } = workspace;
  const terminal = await workspace.terminal().prompt();
  const address = `${server.origin}/docs/api`;
  // In two parts, so that it stands in the output alone.
  await terminal.enter(`clear; echo; echo ${address.slice(0, 9)}""${address.slice(9)}`);
  const row = page.locator('#terminal-main .xterm-rows > div').filter({ hasText: new RegExp(`^${address}\\s*$`) });
  await expect(row).toHaveCount(1);
  const { x, y, height } = (await row.boundingBox())!;
  // Over the address the pointer says that it leads somewhere; links are looked for when it moves.
  await expect(async () => {
    await page.mouse.move(x + 40, y + height / 2 + 40);
    await page.mouse.move(x + 40, y + height / 2, { steps: 3 });
    await expect(page.locator('#terminal-main .xterm-cursor-pointer')).toHaveCount(1, { timeout: 1_000 });
  }).toPass({ timeout: 15_000 });
  const opened = page.context().waitForEvent('page');
  await page.mouse.down();
  await page.mouse.up();
  const tab = await opened;
  await expect(tab).toHaveURL(address);
  expect(await tab.evaluate(() => window.opener), 'it has no hold of this page').toBeNull();
  await expect(page, 'which stays where it is').toHaveURL(new RegExp(`/projects/${project.id}$`));
});

test('a program fills the clipboard by OSC 52, once and up to a limit, and never reads it; the user does by a key, and pastes lines as one', async ({ visitor, project }) => {
  const context = await visitor();
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  // What each load of the page does with the clipboard.
  await context.addInitScript(() => {
    const used: string[] = ((window as any).used = []);
    const { clipboard } = navigator;
    if (!clipboard) return;
    const write = clipboard.writeText.bind(clipboard);
    (window as any).held = clipboard.readText.bind(clipboard);
    clipboard.writeText = async (text: string) => {
      used.push(`wrote ${text.slice(0, 40)}`);
      await write(text);
    };
    clipboard.readText = async () => {
      used.push('read');
      return 'of the user';
    };
  });
  const workspace = await new Workspace(await context.newPage()).open(project.id);
  const { page } = workspace;
  const used = () => page.evaluate(() => (window as any).used as string[]);
  let terminal = await workspace.terminal().prompt();
  await terminal.enter(String.raw`printf '\033]52;c;%s\a' "$(printf 'from the shell \303\244' | base64)"; echo wro""te`);
  await terminal.sees(/^wrote$/m);
  await expect.poll(used).toEqual(['wrote from the shell ä']);
  await expect.poll(() => page.evaluate(() => (window as any).held() as Promise<string>), 'it is in the clipboard').toBe('from the shell ä');

  // Whoever asks hears nothing. What comes after it, who are you?, is answered, so it was read by then.
  await terminal.enter(String.raw`stty -echo; printf 'ask\033]52;c;?\a\033]52;c;?;\a\033]52;;?\033\\\033[c'; cat -v`);
  await terminal.sees(/^ask/m);
  await terminal.enter('mark');
  await terminal.sees(/\^\[\[\?[\d;]+c.*mark/);
  expect(await terminal.text(), 'no answer is typed').not.toMatch(/\^\[\]52/);
  expect(await used(), 'and nothing was read').toHaveLength(1);
  await page.keyboard.press('Control+c');
  await terminal.prompt();

  await page.reload();
  terminal = await workspace.terminal().live();
  await terminal.sees(/^wrote$/m);
  expect(await used(), 'what is only shown again fills nothing').toEqual([]);

  // Too much, the selection of a mouse, and what is none of both.
  const parts = [
    String.raw`printf '\033]52;c;%s\a' "$(head -c 1048577 /dev/zero | tr '\0' x | base64 -w0)"`,
    String.raw`printf '\033]52;p;%s\a' "$(printf primary | base64)"`,
    String.raw`printf '\033]52;c;%s\a' "$(printf small | base64)"`,
    'echo la""st',
  ];
  await terminal.enter(parts.join('; '));
  await terminal.sees(/^last$/m, 30_000);
  await expect.poll(used).toEqual(['wrote small']);

  // What is chosen is copied by its key; where nothing is, nothing is copied. Neither is an interrupt, which would drop the line that is begun.
  await terminal.enter('clear; echo to-$((6*7))-copy');
  const row = page.locator('#terminal-main .xterm-rows > div').filter({ hasText: /^to-42-copy\s*$/ });
  await expect(row).toHaveCount(1);
  await terminal.type('echo stil');
  await page.keyboard.press('Control+Shift+C');
  const { x, y, height } = (await row.boundingBox())!;
  await page.mouse.dblclick(x + 20, y + height / 2);
  await page.keyboard.press('Control+Shift+C');
  await expect.poll(used).toEqual(['wrote small', 'wrote to-42-copy']);
  expect(await page.evaluate(() => (window as any).held() as Promise<string>)).toBe('to-42-copy');
  await page.keyboard.type('l-$((6*7))');
  await page.keyboard.press('Enter');
  await terminal.sees(/^still-42$/m);

  // Two lines that are pasted come as one piece, to a program that asks for that.
  await terminal.enter(String.raw`stty -echo; printf '\033[?2004hrea''dy\n'; cat -v`);
  await terminal.sees(/^ready$/m);
  await page.locator('#terminal-main .xterm-helper-textarea').evaluate((field) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData('text/plain', 'one\ntwo');
    field.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
  });
  await page.keyboard.press('Enter');
  await terminal.sees(/^\^\[\[200~one\s*\ntwo\^\[\[201~\s*$/m);
  await page.keyboard.press('Control+c');
});

// The same in the browser, whatever runs the shell. A processor that draws as a card would leaves the machine no room.
test('a graphics card draws the terminal, and the page does where there is none or it gives up', { ...ONE_MACHINE, ...ALONE }, async ({ project, server }) => {
  // The same WebGL as a card's, computed by the processor.
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist'],
  });
  try {
    const context = await browser.newContext({ baseURL: server.origin, viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce' });
    const blank = await context.newPage();
    const webgl = await blank.evaluate(() => document.createElement('canvas').getContext('webgl2') !== null);
    test.skip(!webgl, 'this Chromium has no WebGL, not even by the processor');
    let page = await context.newPage();
    await page.goto(await server.newSignInLink());
    await page.waitForURL((url) => !url.pathname.startsWith('/sign-in'));
    const line = (number: string) => `The quick brown fox ${number} jumps over the lazy dog: {}[]<>|/`;
    const rightlyDrawn = async (what: string) => {
      await expect(async () => {
        const { expected, columns, rows } = await wanted(page);
        expect(expected.join('').replaceAll(' ', '').length, 'characters on the screen').toBeGreaterThan(200);
        const picture = await page.locator('#terminal-main .xterm-screen').screenshot();
        // By lines: which cells of a line a letter touches is the font's affair.
        const written = (lines: string[]) => lines.map((line) => line.trim() !== '');
        expect(written((await inked(blank, picture, columns, rows)).slice(0, expected.length)), what).toEqual(written(expected));
      }).toPass({ timeout: 20_000 });
    };

    // WebGL by the processor is slower than what the page does itself: not used.
    let terminal = await (await new Workspace(page).open(project.id)).terminal().prompt();
    await terminal.enter(`clear; for i in 1 2 3 4 5 6; do echo "${line('$i')}"; done`);
    await terminal.sees(/^The quick brown fox 6 jumps/m);
    await terminal.prompt();
    expect(await drawnBy(page)).toBe('the page');
    await rightlyDrawn('without WebGL');
    await page.close();

    // As a browser tells it that has a card.
    await context.addInitScript(() => {
      const { getContext } = HTMLCanvasElement.prototype;
      HTMLCanvasElement.prototype.getContext = function (this: HTMLCanvasElement, kind: string, attributes?: object) {
        return (getContext as any).call(this, kind, { ...attributes, failIfMajorPerformanceCaveat: false });
      } as any;
      const { getParameter } = WebGL2RenderingContext.prototype;
      WebGL2RenderingContext.prototype.getParameter = function (name: number) {
        const UNMASKED_RENDERER_WEBGL = 0x9246;
        return name === UNMASKED_RENDERER_WEBGL ? 'A graphics card' : getParameter.call(this, name);
      };
    });
    page = await context.newPage();
    terminal = await (await new Workspace(page).open(project.id)).terminal().prompt();
    await expect.poll(() => drawnBy(page)).toBe('WebGL');
    await rightlyDrawn('by WebGL');

    // The card is taken away: for three seconds xterm.js hopes to have it back.
    await page.evaluate(() => {
      for (const canvas of document.querySelectorAll<HTMLCanvasElement>('#terminal-main .xterm-screen canvas')) {
        canvas.getContext('webgl2')?.getExtension('WEBGL_lose_context')?.loseContext();
      }
    });
    await expect.poll(() => drawnBy(page)).toBe('the page');
    await rightlyDrawn('after the loss');
    await expect(page.locator('#terminal-main .xterm-rows')).toContainText(line('6'));
    await terminal.enter('echo still-$((6*7))');
    await terminal.sees(/^still-42$/m);
    await expect(page.locator('#terminal-main .xterm-rows')).toContainText('still-42');
  } finally {
    await browser.close();
  }
});

/** Who draws the terminal of a page now. */
async function drawnBy(page: Page): Promise<'WebGL' | 'the page' | 'nobody' | 'both'> {
  return await page.evaluate(() => {
    const screen = document.querySelector('#terminal-main .xterm-screen');
    const rows = Boolean(screen?.querySelector('.xterm-rows'));
    const webgl = [...(screen?.querySelectorAll('canvas') ?? [])].some((canvas) => canvas.getContext('webgl2') !== null);
    if (webgl && rows) return 'both';
    return webgl ? 'WebGL' : rows ? 'the page' : 'nobody';
  });
}

/** Where characters are in the terminal's rows above the cursor: `#`, else a space. */
async function wanted(page: Page): Promise<{ expected: string[]; columns: number; rows: number }> {
  return await page.evaluate(async () => {
    const handle = (window as any).__terminals.main;
    await handle.settled();
    const { buffer, cols, rows } = handle.terminal;
    const expected: string[] = [];
    for (let row = 0; row < buffer.active.cursorY; row += 1) {
      expected.push(buffer.active.getLine(buffer.active.baseY + row).translateToString(false).replaceAll(/\S/g, '#'));
    }
    return { expected, columns: cols, rows };
  });
}

/** The same of a picture of the screen: where the middle of a cell has another colour than the empty last row. */
async function inked(blank: Page, picture: Buffer, columns: number, rows: number): Promise<string[]> {
  return await blank.evaluate(
    async ({ data, columns, rows }) => {
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
      const { width, height } = bitmap;
      const context = new OffscreenCanvas(width, height).getContext('2d')!;
      context.drawImage(bitmap, 0, 0);
      const pixels = context.getImageData(0, 0, width, height).data;
      const at = (x: number, y: number) => [0, 1, 2].map((channel) => pixels[(y * width + x) * 4 + channel]!);
      const empty = at(Math.floor(width / 2), height - 2);
      const differs = (x: number, y: number) => at(x, y).some((value, channel) => Math.abs(value - empty[channel]!) > 60);
      const [wide, high] = [width / columns, height / rows];
      const lines: string[] = [];
      for (let row = 0; row < rows; row += 1) {
        let text = '';
        for (let column = 0; column < columns; column += 1) {
          let ink = false;
          for (let y = Math.ceil(row * high) + 1; y < Math.floor((row + 1) * high) - 1 && !ink; y += 1) {
            for (let x = Math.round((column + 0.2) * wide); x < Math.round((column + 0.8) * wide) && !ink; x += 1) ink = differs(x, y);
          }
          text += ink ? '#' : ' ';
        }
        lines.push(text);
      }
      return lines;
    },
    { data: picture.toString('base64'), columns, rows },
  );
}

/** A package and what it needs, as paths below the folder of this program. */
function runtimePackages(root: string): string[] {
  const found = new Set<string>();
  const add = (name: string) => {
    if (found.has(name)) return;
    found.add(name);
    const told = JSON.parse(execFileSync('cat', [path.join(here, 'node_modules', name, 'package.json')], { encoding: 'utf8' }));
    Object.keys(told.dependencies ?? {}).forEach(add);
  };
  add(root);
  return [...found].map((name) => `node_modules/${name}`);
}
