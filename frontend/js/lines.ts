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
