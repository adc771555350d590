// Questions that programs ask the terminal, and when they go unanswered.
//
// An answer is typed into the shell. So a question is answered once, by one viewer, and never when
// its bytes are a replay: the program that asked is long gone, and a shell would read the answer as
// a command. `install` puts handlers before xterm.js' own that swallow questions while `silent()`.

import type { IDisposable, IFunctionIdentifier, IParser } from '@xterm/xterm';

type Params = readonly (number | number[])[];

/** CSI questions without regard to their parameters. */
const CSI: readonly IFunctionIdentifier[] = [
  { final: 'c' }, // DA1
  { prefix: '>', final: 'c' }, // DA2
  { prefix: '=', final: 'c' }, // DA3
  { final: 'n' }, // DSR, CPR
  { prefix: '?', final: 'n' }, // DECDSR, colour scheme
  { final: 'x' }, // DECREQTPARM
  { intermediates: '$', final: 'p' }, // DECRQM, ANSI
  { prefix: '?', intermediates: '$', final: 'p' }, // DECRQM, DEC
  { prefix: '>', final: 'q' }, // XTVERSION
  { prefix: '?', final: 'u' }, // kitty keyboard
  { intermediates: '*', final: 'y' }, // DECRQCRA
];

/** DCS questions: DECRQSS, XTGETTCAP. */
const DCS: readonly IFunctionIdentifier[] = [
  { intermediates: '$', final: 'q' },
  { intermediates: '+', final: 'q' },
];

/** OSC numbers whose data asks where it holds a lone `?`: palette, ink, canvas, cursor. */
const OSC = [4, 10, 11, 12] as const;

/** `CSI Ps t` that report; the others move windows or keep titles. */
const WINDOW_REPORTS = new Set([11, 13, 14, 15, 16, 18, 19, 20, 21]);

/** DECSET 1004: xterm.js answers it at once with whether it has the focus. */
const FOCUS_REPORTS = 1004;

/** Whether `CSI params t` asks for a report. */
export function isWindowReport(params: Params): boolean {
  return typeof params[0] === 'number' && WINDOW_REPORTS.has(params[0]);
}

/** Whether the data of OSC 4, 10, 11 or 12 asks for a colour rather than sets it. */
export function isColourQuery(data: string): boolean {
  return data.split(';').includes('?');
}

/** Whether the data of OSC 52 asks for what is in the clipboard rather than fills it; whatever follows the `?`. */
export function isClipboardQuery(data: string): boolean {
  return data.split(';')[1] === '?';
}

/** Whether `CSI ? params h` turns focus reports on. */
export function turnsFocusReportsOn(params: Params): boolean {
  return params.includes(FOCUS_REPORTS);
}

/** What xterm.js sends when the terminal gains or loses the focus. */
export function isFocusReport(data: string): boolean {
  return data === '\x1b[I' || data === '\x1b[O';
}

/** A mouse report, in any encoding. It is about the screen of this moment: never held, never late. */
export function isMouseReport(data: string): boolean {
  return data.startsWith('\x1b[M') || /^\x1b\[<?\d+;\d+;\d+[Mm]$/.test(data);
}

/** A report of the pointer moving with no button down: nobody typed. */
export function isMouseMove(data: string): boolean {
  const sgr = /^\x1b\[<(\d+);/.exec(data);
  if (sgr) return (Number(sgr[1]) & 0x23) === 0x23;
  return data.startsWith('\x1b[M') && ((data.charCodeAt(3) - 32) & 0x23) === 0x23;
}

export interface Muzzle extends IDisposable {
  /** Whether what xterm.js just sent answers a swallowed DECSET 1004. Asked once an answer. */
  ownsFocusReport(data: string): boolean;
}

/** Swallows questions while `silent()`, which is asked as each is parsed. */
export function install(parser: IParser, silent: () => boolean): Muzzle {
  let focusReportDue = false;
  const disposables: IDisposable[] = [
    ...CSI.map((id) => parser.registerCsiHandler(id, silent)),
    ...DCS.map((id) => parser.registerDcsHandler(id, silent)),
    ...OSC.map((ident) => parser.registerOscHandler(ident, (data) => isColourQuery(data) && silent())),
    parser.registerCsiHandler({ final: 't' }, (params) => isWindowReport(params) && silent()),
    parser.registerEscHandler({ final: 'Z' }, silent),
    parser.registerOscHandler(52, silent),
    parser.registerCsiHandler({ prefix: '?', final: 'h' }, (params) => {
      // The mode itself is to be set; only the report that follows within this call is not.
      if (silent() && turnsFocusReportsOn(params)) {
        focusReportDue = true;
        queueMicrotask(() => (focusReportDue = false));
      }
      return false;
    }),
  ];
  return {
    ownsFocusReport(data) {
      if (!focusReportDue || !isFocusReport(data)) return false;
      focusReportDue = false;
      return true;
    },
    dispose: () => disposables.forEach((disposable) => disposable.dispose()),
  };
}
