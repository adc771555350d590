// Sentences: what stands in backticks is code. Pure.

export interface Run {
  text: string;
  code: boolean;
}

/** A sentence in pieces, in order. A mark that stands alone is text. */
export function runs(sentence: string): Run[] {
  const pieces = sentence.split(/(`[^`]*`)/);
  return pieces
    .map((piece, at) => (at % 2 === 1 ? { text: piece.slice(1, -1), code: true } : { text: piece, code: false }))
    .filter(({ text }) => text !== '');
}
