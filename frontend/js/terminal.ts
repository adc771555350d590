// The terminal in the browser: xterm.js joined to one session of a sandbox.
//
//     keyboard ─▶ keys ─▶ xterm.js ─▶ Connection ─▶ WebSocket ─▶ session
//                            ▲            │
//                            └── Writer ◀─┘   output, sizes, who answers: all in stream order
//
// `mount` is all that the page needs. Unmounting detaches; the session lives on in the sandbox, and
// the next mount of its name shows it again. Plain values in and out, so that WebAssembly can call.

import { ClipboardAddon } from '@xterm/addon-clipboard';
import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { Unicode11Addon } from '@xterm/addon-unicode11';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { Terminal } from '@xterm/xterm';
import { running } from './sessions.ts';
import { takeFiles } from './drop.ts';
import { Connection, endedMessage, type Socket, type StateChange } from './connection.ts';
import { copy } from './insecure.ts';
import { keyOwner, keySequence, withCtrl } from './keys.ts';
import { part } from './load.ts';
import type { Hello } from './protocol.ts';
import { install, isClipboardQuery, isFocusReport, isMouseMove, isMouseReport, type Muzzle } from './queries.ts';
import { DEFAULT_FONT_SIZE, LINE_HEIGHT, look, onLookChange } from './theme.ts';
import * as words from './words.ts';
import { Gap } from './gap.ts';
import { Writer } from './writer.ts';

export type { State, StateChange } from './connection.ts';

export interface MountOptions {
  projectId: string;
  /** ws(s) URL or path, without a query. */
  url: string;
  session: string;
  focus?: boolean;
  /** Whether it can be seen now; true unless said. */
  visible?: boolean;
  fontSize?: number;
  screenReader?: boolean;
  onState?: (change: StateChange) => void;
  onTitle?: (title: string) => void;
  onBell?: () => void;
  /** New output while not visible. At most five times a second. */
  onOutput?: () => void;
  /** Ctrl Shift Esc: the focus is to leave. */
  onLeave?: () => void;
  /** Matches of the search; `index` is -1 where none is chosen. */
  onSearch?: (found: { index: number; count: number }) => void;
  /** The on-screen Ctrl went up or down. */
  onCtrl?: (held: boolean) => void;
  /** A link was chosen; `true` says that the page has opened it. */
  onLink?: (uri: string) => boolean;
}

export interface SearchOptions {
  next?: boolean;
  prev?: boolean;
  caseSensitive?: boolean;
}

export interface Handle {
  focus(): void;
  fit(): void;
  dispose(): void;
  setVisible(visible: boolean): void;
  /** Finds `text` and shows it; `next` unless `prev`. Says whether there was a match. */
  search(text: string, options?: SearchOptions): boolean;
  clearSearch(): void;
  /** Says whether anything was selected. */
  copySelection(): boolean;
  paste(text: string): void;
  /** Types a key of the on-screen row: Escape, Tab, Enter, ArrowUp, ArrowDown, ArrowLeft, ArrowRight. */
  key(name: string): void;
  /** Holds Ctrl for the next character. */
  setCtrl(held: boolean): void;
  restartEnded(): void;
  /** Tries to connect now, as when the page learns that the sandbox is running. */
  poke(): void;
  setScreenReader(on: boolean): void;
  setFontSize(pixels: number): void;
  /** The whole buffer as text, wrapped lines joined, for tests. */
  text(): string;
  /** Resolves when all output that has arrived is on the screen, for tests. */
  settled(): Promise<void>;
  readonly state: StateChange['state'];
  readonly terminal: Terminal;
}

declare global {
  interface Window {
    /** Mounted terminals by session name, for tests and the console. */
    __terminals?: Record<string, Handle>;
  }
}

/** Ten thousand lines of a wide terminal take some 20 MB. */
const SCROLLBACK_LINES = 10_000;
const SMALLEST_FONT = 6;
const CONSUMED_EVERY_BYTES = 128 * 1024;
const CONSUMED_IDLE_MS = 40;
const RESIZE_DEBOUNCE_MS = 60;
const NOTICE_MS = 8_000;
/** A replay is kept out of sight at most so long. */
const REPLAY_HIDDEN_MS = 800;
/** Without offsets there is no credit: above this ttyd is told to pause, and below a quarter to go on. */
const TTY_PAUSE_BYTES = 1024 * 1024;
/** So many matches of a search are marked and counted (`app/src/components/terminal_pane/search.rs`). */
const MATCHES = 1000;
/** OSC 52 may fill the clipboard with this much. */
const CLIPBOARD_CHARACTERS = 1024 * 1024;
const SEARCH_COLOURS = {
  matchBackground: '#5a4a1f',
  matchOverviewRuler: '#eab765',
  activeMatchBackground: '#a8741a',
  activeMatchColorOverviewRuler: '#ffffff',
};

const encoder = new TextEncoder();
const mac = /Mac|iPhone|iPad/.test(navigator.platform);

/** Puts a terminal into `host`, which must have a size of its own, and attaches it to its session. */
export function mount(host: HTMLElement, options: MountOptions): Handle {
  const viewer = new Viewer(host, options);
  (window.__terminals ??= {})[options.session] = viewer;
  return viewer;
}

/** The names of the sessions whose shell runs, oldest first; `undefined` where they could not be read. */
export async function sessions(url: string): Promise<string[] | undefined> {
  try {
    const answer = await fetch(`${url}s`, { headers: { accept: 'application/json' } });
    return answer.ok ? running(await answer.json()) : undefined;
  } catch {
    return undefined;
  }
}

/** Ends a session and what runs in it. Says whether it is gone. */
export async function end(url: string, session: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/${session}`, { method: 'DELETE' });
    return answer.ok || answer.status === 404;
  } catch {
    return false;
  }
}

class Viewer implements Handle {
  readonly terminal: Terminal;
  readonly #host: HTMLElement;
  readonly #options: MountOptions;
  readonly #screen = document.createElement('div');
  readonly #notice = document.createElement('div');
  readonly #notices = document.createElement('div');
  readonly #fit = new FitAddon();
  readonly #search = new SearchAddon({ highlightLimit: MATCHES });
  readonly #writer: Writer;
  readonly #muzzle: Muzzle;
  readonly #connection: Connection;
  readonly #cleanup: (() => void)[] = [];
  #webgl: { dispose(): void } | undefined;
  #webglFailed = false;

  #visible: boolean;
  #fontSize: number;
  #ctrlHeld = false;
  #disposed = false;

  /** Answers queries, from the place in the stream where that was said. */
  #primary = false;
  /** This viewer's size holds. Set with the first key typed, before the session confirms it. */
  #ownsSize = true;
  /** The session's size, as it last said, and as it is after what this viewer told since. */
  #sessionSize: Size | undefined;
  #told: Size = { columns: 0, rows: 0 };

  /** Output below this offset is a replay. */
  #replayUntil = 0;
  /** Steps on their way to the parser after which offsets count anew. */
  #turns = 0;
  #consumed = 0;
  /** A replay after a gap, until all of it is there. */
  #gap: Gap | undefined;
  #paused = false;

  #consumedTimer: Timer;
  #resizeTimer: Timer;
  #noticeTimer: Timer;
  #titleTimer: Timer;
  #outputTimer: Timer;
  #waiting: (() => void)[] = [];

  constructor(host: HTMLElement, options: MountOptions) {
    this.#host = host;
    this.#options = options;
    this.#visible = options.visible ?? true;
    this.#fontSize = options.fontSize ?? DEFAULT_FONT_SIZE;

    host.classList.add('fsa-terminal');
    if (getComputedStyle(host).position === 'static') host.style.position = 'relative';
    this.#screen.className = 'fsa-terminal-screen';
    this.#notice.className = 'fsa-terminal-notice';
    this.#notice.setAttribute('role', 'status');
    this.#notices.className = 'fsa-terminal-notices';
    this.#notices.append(this.#notice);
    host.append(this.#screen, this.#notices);

    this.terminal = new Terminal({
      ...look(host),
      fontSize: this.#fontSize,
      lineHeight: LINE_HEIGHT,
      scrollback: SCROLLBACK_LINES,
      minimumContrastRatio: 4.5,
      allowProposedApi: true,
      macOptionClickForcesSelection: true,
      rescaleOverlappingGlyphs: true,
      screenReaderMode: options.screenReader ?? false,
      windowOptions: { getWinSizePixels: true, getCellSizePixels: true, getWinSizeChars: true },
      linkHandler: {
        activate: (event, uri) => this.#openLink(event, uri),
        hover: (_, uri) => (this.#screen.title = uri),
        leave: () => this.#screen.removeAttribute('title'),
      },
    });
    this.#addAddons();
    this.terminal.open(this.#screen);
    this.terminal.textarea?.setAttribute('aria-label', `Terminal ${options.session}`);
    // Last in, first asked: before the handlers of xterm.js and of the addons.
    this.#muzzle = install(this.terminal.parser, () => this.#silent());
    this.#writer = new Writer(this.terminal, (idle) => this.#parsed(idle));
    this.#fitOwn();

    this.#connection = new Connection(
      {
        url: address(options.url),
        session: options.session,
        columns: this.terminal.cols,
        rows: this.terminal.rows,
        open: (url, protocols) => new WebSocket(url, [...protocols]) as unknown as Socket,
      },
      {
        state: (change) => options.onState?.(change),
        hello: (hello, resumed, discarded) => this.#hello(hello, resumed, discarded),
        output: (offset, bytes) => this.#output(offset, bytes),
        repaint: (offset, bytes) => this.#repaint(offset, bytes),
        size: (columns, rows) => this.#writer.then(() => this.#sized({ columns, rows })),
        primary: (primary) => this.#writer.then(() => this.#nowPrimary(primary)),
        title: (title) => options.onTitle?.(title),
        ended: (code) => this.#ended(code),
        refused: (bytes) =>
          this.#say(this.#connection.protocol === 'tty' ? words.notSent() : words.refused(bytes)),
      },
    );
    this.#listen();
    this.#connection.start();
    if (this.#visible) void this.#loadWebgl();
    if (options.focus) this.focus();
  }

  get state(): StateChange['state'] {
    return this.#connection.state;
  }

  focus(): void {
    this.terminal.focus();
  }

  fit(): void {
    if (this.#disposed) return;
    this.#applySize();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#connection.dispose();
    this.#writer.dispose();
    for (const timer of [this.#consumedTimer, this.#resizeTimer, this.#noticeTimer, this.#titleTimer, this.#outputTimer]) {
      clearTimeout(timer);
    }
    for (const clean of this.#cleanup) clean();
    this.#muzzle.dispose();
    this.#dropWebgl();
    this.terminal.dispose();
    this.#screen.remove();
    this.#notices.remove();
    this.#host.classList.remove('fsa-terminal');
    for (const name of ['replaying', 'foreignSize']) delete this.#host.dataset[name];
    if (window.__terminals?.[this.#options.session] === this) delete window.__terminals[this.#options.session];
    this.#settle();
  }

  setVisible(visible: boolean): void {
    if (this.#disposed || visible === this.#visible) return;
    this.#visible = visible;
    if (visible) {
      this.#applySize();
      void this.#loadWebgl();
    } else {
      // A page may hold sixteen WebGL contexts; those out of sight give theirs up.
      this.#dropWebgl();
    }
  }

  search(text: string, options: SearchOptions = {}): boolean {
    if (text === '') {
      this.clearSearch();
      return false;
    }
    const how = { caseSensitive: options.caseSensitive ?? false, decorations: SEARCH_COLOURS };
    return options.prev ? this.#search.findPrevious(text, how) : this.#search.findNext(text, how);
  }

  clearSearch(): void {
    this.#search.clearDecorations();
    this.terminal.clearSelection();
  }

  copySelection(): boolean {
    const text = this.terminal.getSelection();
    if (text === '') return false;
    void copy(text).then((copied) => copied || this.#say('The browser did not let this page copy.'));
    return true;
  }

  paste(text: string): void {
    this.terminal.paste(text);
  }

  key(name: string): void {
    const sequence = keySequence(name, this.terminal.modes.applicationCursorKeysMode);
    if (sequence !== '') this.terminal.input(sequence, true);
  }

  setCtrl(held: boolean): void {
    if (held === this.#ctrlHeld) return;
    this.#ctrlHeld = held;
    this.#options.onCtrl?.(held);
  }

  restartEnded(): void {
    this.#connection.restart();
  }

  poke(): void {
    this.#connection.poke();
  }

  setScreenReader(on: boolean): void {
    this.terminal.options.screenReaderMode = on;
  }

  setFontSize(pixels: number): void {
    this.#fontSize = pixels;
    this.#applySize();
  }

  text(): string {
    const buffer = this.terminal.buffer.active;
    let text = '';
    for (let row = 0; row < buffer.length; row += 1) {
      const line = buffer.getLine(row);
      if (!line) continue;
      const wrapsOn = buffer.getLine(row + 1)?.isWrapped ?? false;
      text += line.translateToString(!wrapsOn) + (wrapsOn ? '' : '\n');
    }
    return text.replace(/\n+$/, '\n');
  }

  settled(): Promise<void> {
    if (this.#writer.idle || this.#disposed) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #addAddons(): void {
    this.terminal.loadAddon(this.#fit);
    this.terminal.loadAddon(this.#search);
    this.terminal.loadAddon(new Unicode11Addon());
    this.terminal.unicode.activeVersion = '11';
    this.terminal.loadAddon(new WebLinksAddon((event, uri) => this.#openLink(event, uri)));
    // A program may fill the clipboard, never read it. Nothing is awaited: the parser would stop.
    this.terminal.loadAddon(
      new ClipboardAddon(undefined, {
        readText: () => '',
        writeText: (selection, text) => {
          if (selection !== 'p' && text.length <= CLIPBOARD_CHARACTERS && this.#visible && document.hasFocus()) {
            void navigator.clipboard?.writeText(text).catch(() => undefined);
          }
          return undefined as unknown as Promise<void>;
        },
      }),
    );
    this.terminal.parser.registerOscHandler(52, isClipboardQuery);
  }

  #listen(): void {
    const { terminal } = this;
    terminal.attachCustomKeyEventHandler((event) => this.#key(event));
    terminal.onData((data) => this.#typed(data));
    terminal.onBinary((data) => this.#typedBinary(data));
    terminal.onBell(() => {
      if (!this.#replaying()) this.#options.onBell?.();
    });
    terminal.onTitleChange((title) => {
      // A replay sets every title there ever was: only the last is told.
      clearTimeout(this.#titleTimer);
      this.#titleTimer = setTimeout(() => this.#options.onTitle?.(title), 50);
    });
    this.#search.onDidChangeResults(({ resultIndex, resultCount }) =>
      this.#options.onSearch?.({ index: resultIndex, count: resultCount }),
    );

    const resized = new ResizeObserver(() => {
      clearTimeout(this.#resizeTimer);
      this.#resizeTimer = setTimeout(() => this.#applySize(), RESIZE_DEBOUNCE_MS);
    });
    resized.observe(this.#screen);
    this.#cleanup.push(() => resized.disconnect());
    this.#cleanup.push(
      takeFiles(this.#host, {
        projectId: this.#options.projectId,
        session: this.#options.session,
        notices: this.#notices,
        focus: () => this.focus(),
        say: (text) => this.#say(text),
        paste: (text) => this.paste(text),
      }),
    );
    this.#cleanup.push(
      onLookChange(() => {
        Object.assign(terminal.options, look(this.#host));
        this.#applySize();
      }),
    );
    const online = () => this.#connection.probe(true);
    const seen = () => {
      if (document.visibilityState === 'visible') this.#connection.probe();
    };
    window.addEventListener('online', online);
    document.addEventListener('visibilitychange', seen);
    this.#cleanup.push(() => {
      window.removeEventListener('online', online);
      document.removeEventListener('visibilitychange', seen);
    });
  }

  // ---- what the session says, in stream order

  #hello(hello: Hello, resumed: boolean, discarded: number): void {
    const first = this.#sessionSize === undefined;
    this.#sessionSize = { columns: hello.columns, rows: hello.rows };
    this.#told = { ...this.#sessionSize };
    this.#primary = this.#ownsSize = hello.primary;
    this.#paused = false;
    this.#consumed = hello.start;
    this.#replayUntil = hello.replayUntil;
    this.#turns += 1;
    this.#writer.then(() => {
      this.#turns -= 1;
      this.#writer.parsed = hello.start;
      this.#applySize();
    });
    if (!resumed && !first) {
      this.#makeRoom();
      if (hello.newSession) this.#writer.say(words.aside(words.newShell(discarded, this.#connection.protocol !== 'tty')));
    }
    if (first && this.#connection.protocol === 'tty') this.#writer.say(words.aside(words.plainTerminal()));
    // A replay that broke off begins again where it began: its gap is still to be told.
    const untold = this.#gap?.start === hello.start ? this.#gap.skipped : 0;
    this.#gap = undefined;
    if (hello.skipped + untold > 0) {
      if (resumed || first) this.#makeRoom();
      const lines = SCROLLBACK_LINES - 2 * this.terminal.rows;
      this.#gap = new Gap(hello.skipped + untold, hello.start, lines, hello.columns);
      if (hello.replayUntil === hello.start) this.#tellGap();
    }
    if (first && hello.replayUntil > hello.start) this.#hideReplay();
  }

  /** Says what is missing, and shows what was held since. */
  #tellGap(): void {
    const gap = this.#gap;
    if (!gap) return;
    this.#gap = undefined;
    const parts = gap.release();
    this.#writer.say(words.aside(words.skipped(gap.skipped)));
    this.#say(words.skipped(gap.skipped));
    for (const { offset, bytes } of parts) this.#writer.stream(offset, bytes, this.#replayUntil);
  }

  #output(offset: number, bytes: Uint8Array): void {
    if (this.#gap) {
      this.#gap.hold(offset, bytes);
      // The session sends no more than a window ahead of what it was told is consumed.
      this.#connection.consumed(offset + bytes.length);
      if (offset + bytes.length >= this.#replayUntil) this.#tellGap();
      return;
    }
    this.#writer.stream(offset, bytes, this.#replayUntil);
    if (!this.#visible && offset >= this.#replayUntil) this.#active();
    if (this.#connection.protocol === 'tty' && !this.#paused && this.#writer.backlog > TTY_PAUSE_BYTES) {
      this.#paused = true;
      this.#connection.pause(true);
    }
  }

  #repaint(offset: number, bytes: Uint8Array): void {
    this.#turns += 1;
    this.#writer.paint(bytes);
    this.#writer.then(() => {
      this.#turns -= 1;
      this.#writer.parsed = offset;
    });
  }

  #sized(size: Size): void {
    this.#sessionSize = size;
    if (!this.#ownsSize) this.#applySize();
  }

  #nowPrimary(primary: boolean): void {
    this.#primary = primary;
    if (this.#ownsSize === primary) return;
    this.#ownsSize = primary;
    this.#applySize();
  }

  #ended(code: number | null): void {
    this.#makeRoom(false);
    this.#writer.say(words.aside(endedMessage(code)));
  }

  /** Plain modes again, and the cursor under what is on the screen; `away`: that goes up into the rows above. */
  #makeRoom(away = true): void {
    this.#writer.say(words.PLAIN);
    this.#writer.say(() => {
      const { active } = this.terminal.buffer;
      let used = this.terminal.rows;
      while (used > 0 && !active.getLine(active.baseY + used - 1)?.translateToString(true)) used -= 1;
      return away ? words.scrollAway(used, this.terminal.rows) : words.below(used);
    });
  }

  #parsed(idle: boolean): void {
    const { parsed } = this.#writer;
    if (this.#host.dataset['replaying'] !== undefined && !this.#replaying()) delete this.#host.dataset['replaying'];
    if (this.#paused && this.#writer.backlog < TTY_PAUSE_BYTES / 4) {
      this.#paused = false;
      this.#connection.pause(false);
    }
    if (parsed - this.#consumed >= CONSUMED_EVERY_BYTES) this.#tellConsumed();
    else if (idle && parsed > this.#consumed && this.#consumedTimer === undefined) {
      this.#consumedTimer = setTimeout(() => this.#tellConsumed(), CONSUMED_IDLE_MS);
    }
    if (idle) this.#settle();
  }

  #tellConsumed(): void {
    clearTimeout(this.#consumedTimer);
    this.#consumedTimer = undefined;
    if (this.#turns > 0 || this.#writer.parsed <= this.#consumed) return;
    this.#consumed = this.#writer.parsed;
    this.#connection.consumed(this.#consumed);
  }

  #replaying(): boolean {
    return this.#turns > 0 || this.#writer.parsed < this.#replayUntil;
  }

  /** Whether a question that is being parsed now goes unanswered by this viewer. */
  #silent(): boolean {
    return this.#replaying() || !this.#primary || !this.#connection.live;
  }

  #hideReplay(): void {
    this.#host.dataset['replaying'] = '';
    const timer = setTimeout(() => delete this.#host.dataset['replaying'], REPLAY_HIDDEN_MS);
    this.#cleanup.push(() => clearTimeout(timer));
  }

  #active(): void {
    if (this.#outputTimer !== undefined) return;
    this.#options.onOutput?.();
    this.#outputTimer = setTimeout(() => (this.#outputTimer = undefined), 200);
  }

  #settle(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  // ---- what the user does

  #key(event: KeyboardEvent): boolean {
    const owner = keyOwner(event, mac);
    if (owner === 'terminal') return true;
    if (event.type === 'keydown') {
      // The browser would open its tools for Ctrl Shift C.
      if (owner === 'copy' && this.copySelection()) event.preventDefault();
      else if (owner === 'copy' && event.ctrlKey) event.preventDefault();
      if (owner === 'leave') {
        event.preventDefault();
        this.#options.onLeave?.();
      }
    }
    return false;
  }

  #typed(data: string): void {
    if (data === '' || this.#muzzle.ownsFocusReport(data)) return;
    if (this.#connection.state === 'ended') {
      if (data === '\r') this.#connection.restart();
      return;
    }
    if (isFocusReport(data) || isMouseMove(data)) {
      if (this.#primary) this.#connection.reply(encoder.encode(data));
      return;
    }
    if (isMouseReport(data)) {
      this.#takeSize();
      this.#connection.reply(encoder.encode(data));
      return;
    }
    if (this.#ctrlHeld) {
      data = withCtrl(data);
      this.setCtrl(false);
    }
    this.#takeSize();
    this.#connection.type(encoder.encode(data));
  }

  /** Mouse reports of the oldest encoding, which is not UTF-8. */
  #typedBinary(data: string): void {
    if (isMouseMove(data) && !this.#primary) return;
    this.#takeSize();
    this.#connection.reply(Uint8Array.from(data, (character) => character.charCodeAt(0)));
  }

  #openLink(event: MouseEvent, uri: string): void {
    // Where a program has the mouse, a plain click is the program's.
    if (this.terminal.modes.mouseTrackingMode !== 'none' && !(event.ctrlKey || event.metaKey)) return;
    if (!/^(https?|mailto):/i.test(uri) || this.#options.onLink?.(uri) === true) return;
    window.open(uri, '_blank', 'noopener,noreferrer');
  }

  // ---- size

  /** Who types sets the size. */
  #takeSize(): void {
    if (this.#ownsSize || !this.#connection.live) return;
    this.#ownsSize = true;
    this.#applySize();
  }

  #applySize(): void {
    if (this.#disposed) return;
    const own = this.#fitOwn();
    const session = this.#sessionSize;
    if (this.#ownsSize || !session) {
      if (this.#host.dataset['foreignSize'] !== undefined) {
        delete this.#host.dataset['foreignSize'];
        this.#say('');
      }
      if (!own) return;
      const { cols: columns, rows } = this.terminal;
      const news = columns !== this.#told.columns || rows !== this.#told.rows;
      this.#connection.resize(columns, rows, news);
      if (this.#connection.live) this.#told = { columns, rows };
      return;
    }
    this.#told = session;
    if (!own) return;
    this.#connection.resize(own.cols, own.rows, false);
    if (this.#host.dataset['foreignSize'] === undefined) this.#say(words.foreignSize(session.columns, session.rows));
    this.#host.dataset['foreignSize'] = `${session.columns}×${session.rows}`;
    const scale = Math.min(1, own.cols / session.columns, own.rows / session.rows);
    this.#setFont(Math.max(SMALLEST_FONT, Math.floor(this.#fontSize * scale * 2) / 2));
    this.terminal.resize(session.columns, session.rows);
  }

  /** Measures with the user's own font, and takes that size if it is this viewer's to set. */
  #fitOwn(): { cols: number; rows: number } | undefined {
    if (!this.#visible || this.#screen.clientWidth === 0 || this.#screen.clientHeight === 0) return undefined;
    this.#setFont(this.#fontSize);
    const own = this.#fit.proposeDimensions();
    if (!own || Number.isNaN(own.cols) || Number.isNaN(own.rows)) return undefined;
    own.cols = Math.min(own.cols, 1000);
    own.rows = Math.min(own.rows, 500);
    if (this.#ownsSize || !this.#sessionSize) this.terminal.resize(own.cols, own.rows);
    return own;
  }

  #setFont(pixels: number): void {
    if (this.terminal.options.fontSize !== pixels) this.terminal.options.fontSize = pixels;
  }

  // ---- looks

  #say(text: string): void {
    clearTimeout(this.#noticeTimer);
    this.#notice.textContent = text;
    this.#noticeTimer = setTimeout(() => (this.#notice.textContent = ''), NOTICE_MS);
  }

  async #loadWebgl(): Promise<void> {
    if (this.#webgl || this.#webglFailed || !hardwareWebgl()) return;
    // Where it does not come, rows of the page show the same, and it is asked for again when the terminal is next shown.
    const module = await part(() => import('@xterm/addon-webgl')).catch(() => undefined);
    if (!module || this.#disposed || !this.#visible || this.#webgl) return;
    try {
      const addon = new module.WebglAddon();
      addon.onContextLoss(() => this.#dropWebgl());
      this.terminal.loadAddon(addon);
      this.#webgl = addon;
    } catch {
      // The rows, which are there already, stay.
      this.#webglFailed = true;
    }
  }

  #dropWebgl(): void {
    this.#webgl?.dispose();
    this.#webgl = undefined;
  }
}

interface Size {
  columns: number;
  rows: number;
}

type Timer = ReturnType<typeof setTimeout> | undefined;

let webgl: boolean | undefined;

/** WebGL that is computed by the processor is slower than the DOM renderer. */
function hardwareWebgl(): boolean {
  if (webgl === undefined) {
    const context = document.createElement('canvas').getContext('webgl2', { failIfMajorPerformanceCaveat: true });
    const names = context?.getExtension('WEBGL_debug_renderer_info');
    const renderer = names ? String(context?.getParameter(names.UNMASKED_RENDERER_WEBGL)) : '';
    webgl = context !== null && !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
    context?.getExtension('WEBGL_lose_context')?.loseContext();
  }
  return webgl;
}

function address(url: string): string {
  const absolute = new URL(url, location.href);
  absolute.protocol = absolute.protocol.replace(/^http/, 'ws');
  return absolute.href;
}
