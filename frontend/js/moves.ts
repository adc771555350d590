// Where a file or folder may go, and what its address is there. Pure.

import { encode, join, parent, shown, wrongName } from './paths.ts';
import { isFolder, type Node } from './tree.ts';

/** A field proposes no more folders. */
const MOST_PROPOSED = 500;

/** The name in an address, as it is encoded there. */
export function nameIn(address: string): string {
  return address.slice(address.lastIndexOf('/') + 1);
}

/** Whether something can go into a folder: it is there already, or the folder is it, or lies in it. */
export function fit(address: string, folder: string): 'fits' | 'there' | 'itself' {
  if (folder === address || folder.startsWith(`${address}/`)) return 'itself';
  return folder === parent(address) ? 'there' : 'fits';
}

/** The address that something has in a folder. */
export function within(folder: string, address: string): string {
  return join(folder, '', nameIn(address));
}

/** What an address is once `from` is `to`; undefined where that does not move it. */
export function followed(address: string | undefined, from: string, to: string): string | undefined {
  return address === from || address?.startsWith(`${from}/`) ? to + address.slice(from.length) : undefined;
}

/** Every folder that was read, by its path for a person, the home folder first. */
export function folders(root: Node): Map<string, string> {
  const found = new Map<string, string>();
  const add = (folder: Node): void => {
    if (found.size < MOST_PROPOSED) found.set(shown(folder.address), folder.address);
    for (const child of folder.children ?? []) if (isFolder(child)) add(child);
  };
  add(root);
  return found;
}

/** The names of a folder as it is typed: a path from the home folder, which itself is nothing, `~` or `/`. */
function namesOf(text: string): string[] {
  return text.replace(/^~(?=\/|$)/, '').split('/').filter((name) => name !== '' && name !== '.');
}

/** Why a text cannot be a folder; undefined where it can. */
export function wrongFolder(text: string): string | undefined {
  const names = namesOf(text);
  if (names.includes('..')) return 'Write the path from the home folder on: `..` is not followed.';
  return names.map(wrongName).find((why) => why !== undefined);
}

/** The address of a folder that was typed. One that is known may have a name that no text can hold. */
export function folderAt(text: string, known: ReadonlyMap<string, string>): string {
  const names = namesOf(text);
  return known.get(names.join('/')) ?? names.map((name) => `/${encode(name)}`).join('');
}
