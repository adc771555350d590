import assert from 'node:assert/strict';
import { test } from 'node:test';
import headless from '@xterm/headless';
import { install, isClipboardQuery, isColourQuery, isMouseMove, isMouseReport, isWindowReport, turnsFocusReportsOn } from './queries.ts';

const { Terminal } = headless;

/** What a real xterm.js sends back for `written`, with questions silenced or not. */
async function answers(written: string, silent: boolean): Promise<string> {
  const terminal = new Terminal({
    allowProposedApi: true,
    windowOptions: { getWinSizeChars: true, getWinSizePixels: true, getCellSizePixels: true },
  });
  const muzzle = install(terminal.parser as never, () => silent);
  let sent = '';
  terminal.onData((data) => {
    if (!muzzle.ownsFocusReport(data)) sent += data;
  });
  await new Promise<void>((resolve) => terminal.write(written, resolve));
  return sent;
}

const QUESTIONS: [name: string, question: string][] = [
  ['DA1', '\x1b[c'],
  ['DA1 with a parameter', '\x1b[0c'],
  ['DA2', '\x1b[>c'],
  ['DSR', '\x1b[5n'],
  ['CPR', '\x1b[6n'],
  ['DECXCPR', '\x1b[?6n'],
  ['DECRQM, ANSI', '\x1b[4$p'],
  ['DECRQM, DEC', '\x1b[?2004$p'],
  ['DECRQSS', '\x1bP$qm\x1b\\'],
  ['window size in cells', '\x1b[18t'],
];

for (const [name, question] of QUESTIONS) {
  test(`${name} is answered once live and never while silent`, async () => {
    assert.notEqual(await answers(question, false), '');
    assert.equal(await answers(question, true), '');
  });
}

test('what no xterm.js answers today is swallowed too', async () => {
  for (const question of ['\x1b[=c', '\x1b[>q', '\x1b[?u', '\x1bP+q544e\x1b\\', '\x1b[14t', '\x1b]10;?\x07', '\x1b]4;1;?\x07', '\x1bZ']) {
    assert.equal(await answers(question, true), '', JSON.stringify(question));
  }
});

test('a question in two writes, or among text, is one question', async () => {
  const terminal = new Terminal({ allowProposedApi: true });
  install(terminal.parser as never, () => true);
  let sent = '';
  terminal.onData((data) => (sent += data));
  terminal.write('hello\x1b[');
  await new Promise<void>((resolve) => terminal.write('cworld\x1b[6', resolve));
  await new Promise<void>((resolve) => terminal.write('n!', resolve));
  assert.equal(sent, '');
  assert.equal(terminal.buffer.active.getLine(0)?.translateToString(true), 'helloworld!');
});

test('silence still sets what is set', async () => {
  const terminal = new Terminal({ allowProposedApi: true });
  install(terminal.parser as never, () => true);
  await new Promise<void>((resolve) => terminal.write('\x1b[?2004h\x1b[?1004h\x1b[?1h', resolve));
  assert.ok(terminal.modes.bracketedPasteMode && terminal.modes.sendFocusMode && terminal.modes.applicationCursorKeysMode);
});

test('questions are told from commands of the same letter', () => {
  assert.ok(isWindowReport([18]) && isWindowReport([14, 2]));
  assert.ok(!isWindowReport([22, 0]) && !isWindowReport([8, 24, 80]) && !isWindowReport([]));
  assert.ok(isColourQuery('?') && isColourQuery('1;?') && isColourQuery('?;?'));
  assert.ok(!isColourQuery('1;rgb:00/00/00') && !isColourQuery('#ffffff'));
  assert.ok(isClipboardQuery('c;?') && isClipboardQuery(';?') && isClipboardQuery('p;?;') && isClipboardQuery('c;?;?'));
  assert.ok(!isClipboardQuery('c;Zm9v') && !isClipboardQuery('c;') && !isClipboardQuery('?') && !isClipboardQuery(''));
  assert.ok(turnsFocusReportsOn([1000, 1004]) && !turnsFocusReportsOn([1000]));
});

test('the mouse is told from the keyboard', () => {
  assert.ok(isMouseReport('\x1b[<0;10;5M') && isMouseReport('\x1b[M !!') && isMouseReport('\x1b[32;10;5M'));
  assert.ok(!isMouseReport('\x1b[A') && !isMouseReport('\x1b[1;2R') && !isMouseReport('\x1b[200~'));
  assert.ok(isMouseMove('\x1b[<35;10;5M') && isMouseMove('\x1b[MC!!'));
  assert.ok(!isMouseMove('\x1b[<0;10;5M') && !isMouseMove('\x1b[<32;10;5M') && !isMouseMove('\x1b[<64;1;1M'));
});
