// Which variables a list shows, and how many that are. Pure.

export interface Row {
  name: string;
  /** As its row says: `Project`. */
  source: string;
}

/** As they are set over each other, one's own first. */
const ORDER = ['Project', 'Request', 'Account', 'Operator', 'System'];

/** The sources that there are, in order, each with how many it has. */
export function sources(rows: Row[]): [source: string, count: number][] {
  const all = [...new Set(rows.map(({ source }) => source))].sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
  return all.map((source) => [source, rows.filter((row) => row.source === source).length]);
}

/** Whether it is shown: by a part of its name, whatever the case, and by its source unless that is empty. */
export function shows({ name, source }: Row, query: string, only: string): boolean {
  return name.toLowerCase().includes(query.trim().toLowerCase()) && (only === '' || source === only);
}

/** "12 variables", "3 of 12 variables". */
export function tally(shown: number, all: number): string {
  const words = `${all} variable${all === 1 ? '' : 's'}`;
  return shown === all ? words : `${shown} of ${words}`;
}
