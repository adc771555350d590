// Lines of JSON, as a log is sent, from pieces of any size.

export interface Line {
  at: string | null;
  text: string;
}

export class LineReader {
  #rest = '';

  /** The lines that are whole with this piece. What is no line of a log is left out. */
  take(piece: string): Line[] {
    const parts = (this.#rest + piece).split('\n');
    this.#rest = parts.pop() ?? '';
    return parts.flatMap((part) => {
      try {
        const { at, text } = JSON.parse(part);
        return typeof text === 'string' ? [{ at: typeof at === 'string' ? at : null, text }] : [];
      } catch {
        return [];
      }
    });
  }
}

/** Whether a filter that was typed leaves a line: the words of it, whatever their case. */
export function filterOf(typed: string): (line: string) => boolean {
  const wanted = typed.trim().toLowerCase();
  return (line) => line.toLowerCase().includes(wanted);
}

const same = (one: Line | undefined, other: Line): boolean => one !== undefined && one.at === other.at && one.text === other.text;

/** How many lines of a log come again at least, where it has as many: of a cluster's these are the last ones. */
const COMES_AGAIN = 5_000;

/** A log that comes again from its beginning, held back until it has come as far as what is shown of it. */
export class Held {
  readonly #first: Line;
  readonly #last: Line;
  readonly #count: number;
  readonly #lines: Line[] = [];

  /** Of what is shown: the first line, the last one, and how many there are. */
  constructor(first: Line, last: Line, count: number) {
    this.#first = first;
    this.#last = last;
    this.#count = count;
  }

  /** More of it. Whether it has come so far now. */
  take(fresh: Line[]): boolean {
    // A line may be there twice.
    const from = Math.max(this.#lines.length, Math.min(this.#count, COMES_AGAIN) - 1);
    this.#lines.push(...fresh);
    return this.#lines.slice(from).some((line) => same(line, this.#last));
  }

  /** All of it, which takes the place of what is shown; or what comes after that, where it begins with it. */
  release(): { all: Line[] } | { more: Line[] } {
    const goesOn = same(this.#lines[0], this.#first) && same(this.#lines[this.#count - 1], this.#last);
    return goesOn ? { more: this.#lines.slice(this.#count) } : { all: this.#lines };
  }
}

/** How long after the end of a stream the next try is. */
const AGAIN_MS = 1_500;
/** And where nothing more is to come before something happens to the sandbox, which is told. */
const LATER_MS = 15_000;

/**
 * How long a log is left alone after a stream of it has ended. `over`: by itself, having told all that there is; `rests`: the sandbox does not run.
 * What prepared a run and the run before write nothing more, and neither does what is not there.
 */
export function pauseMs(source: string, over: boolean, rests: boolean): number {
  return over && (rests || source === 'past' || source === 'install') ? LATER_MS : AGAIN_MS;
}
