// The tree of folders: which are open, what is in them, and which row a key leads to. Pure.

import { join, oneLine, order, parent, type Entry } from './paths.ts';

/** A file or folder. The home folder is the root: level 0, never a row itself. */
export interface Node {
  address: string;
  name: string;
  kind: Entry['kind'];
  size: number;
  level: number;
  open: boolean;
  /** Of a folder: what is in it, once it was read. */
  children: Node[] | undefined;
  /** Why it could not be read. */
  wrong: string | undefined;
}

/** Rows of one folder; what is more is told. */
export const MOST_ROWS = 2_000;

export class Tree {
  readonly root: Node = { address: '', name: '', kind: 'directory', size: 0, level: 0, open: true, children: undefined, wrong: undefined };

  /** Takes what a folder has now. What was open in it stays open. */
  fill(folder: Node, entries: readonly Entry[]): void {
    const before = new Map(folder.children?.map((child) => [child.address, child]));
    folder.wrong = undefined;
    folder.children = order(entries).map((entry) => {
      const address = join(folder.address, entry.name, entry.raw);
      const known = before.get(address);
      const same = known?.kind === entry.kind ? known : undefined;
      const fresh = { address, name: oneLine(entry.name), kind: entry.kind, size: entry.size, level: folder.level + 1 };
      return same ? Object.assign(same, fresh) : { ...fresh, open: false, children: undefined, wrong: undefined };
    });
  }

  find(address: string): Node | undefined {
    let here: Node | undefined = this.root;
    while (here && here.address !== address) {
      here = here.children?.find((child: Node) => child.address === address || address.startsWith(`${child.address}/`));
    }
    return here;
  }

  /** The folder that has it. */
  above(node: Node): Node {
    return this.find(parent(node.address)) ?? this.root;
  }

  /** Every row that can be seen, from the top. */
  rows(): Node[] {
    const rows: Node[] = [];
    const add = (folder: Node): void => {
      for (const child of folder.children?.slice(0, MOST_ROWS) ?? []) {
        rows.push(child);
        if (child.open) add(child);
      }
    };
    add(this.root);
    return rows;
  }
}

/** What a folder has, as an answer lists it; `undefined` where it breaks off, or is no list. */
export async function listed(answer: Response): Promise<Entry[] | undefined> {
  const told: { entries?: unknown } | null | undefined = await answer.json().catch(() => undefined);
  const entries = told?.entries;
  return Array.isArray(entries) ? entries : undefined;
}

/** Where a key leads from a row, after the pattern of a tree view: another row, or the row itself opened or closed. */
export function step(rows: readonly Node[], at: Node, key: string): { to?: Node; toggle?: boolean } | undefined {
  const index = rows.indexOf(at);
  const folder = isFolder(at);
  switch (key) {
    case 'ArrowDown':
      return { to: rows[index + 1] };
    case 'ArrowUp':
      return { to: rows[index - 1] };
    case 'Home':
      return { to: rows[0] };
    case 'End':
      return { to: rows.at(-1) };
    case 'ArrowRight':
      if (folder && !at.open) return { toggle: true };
      return { to: folder && rows[index + 1]?.level === at.level + 1 ? rows[index + 1] : undefined };
    case 'ArrowLeft':
      if (folder && at.open) return { toggle: true };
      return { to: rows.slice(0, index).findLast((row) => row.level === at.level - 1) };
    default:
      return undefined;
  }
}

/** The next row whose name begins so, around the end. */
export function typed(rows: readonly Node[], at: Node, text: string): Node | undefined {
  const from = rows.indexOf(at) + (text.length === 1 ? 1 : 0);
  const begins = ({ name }: Node): boolean => name.toLowerCase().startsWith(text.toLowerCase());
  return [...rows.slice(from), ...rows.slice(0, from)].find(begins);
}

/** A link may lead to a folder as well: that is seen when it is opened. */
export function isFolder(node: Node): boolean {
  return node.kind === 'directory' || node.children !== undefined;
}
