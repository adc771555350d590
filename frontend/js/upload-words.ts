// What is said of uploads. Pure.

import { oneLine } from './paths.ts';

/** What was to be uploaded and was not. */
export interface Missed {
  /** With the folders that it lies in. */
  name: string;
  why: string;
}

/** Why, where the browser does not say it. */
export const UNREADABLE = 'The browser could not read it.';
/** Why, where somebody stopped it. */
export const STOPPED = 'It was stopped.';
/** So many are named. */
const MOST_NAMED = 5;

/** Which of `of` were not uploaded, and why. */
export function missed(of: number, missing: readonly Missed[]): string {
  const why = [...new Set(missing.map(({ why }) => why))].join(' ');
  const names = missing.slice(0, MOST_NAMED).map(({ name }) => oneLine(name));
  if (of === 1) return `${names[0]} was not uploaded. ${why}`;
  const more = missing.length - names.length;
  return `${missing.length} of ${of} ${missing.length === 1 ? 'was' : 'were'} not uploaded: ${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}. ${why}`;
}

/** What a notice says while uploads into the folder `where` are under way. */
export function underWay(of: number, where: string): { title: string; text: string } {
  return { title: of === 1 ? 'A file is being uploaded' : `${of} files are being uploaded`, text: `Into ${where}.` };
}

/** What a notice says at the end of uploads into the folder `where`. */
export function ending(of: number, missing: readonly Missed[], where: string): { title: string; text: string; tone: 'good' | 'bad' } {
  if (missing.length === 0) return { title: of === 1 ? 'A file was uploaded' : `${of} files were uploaded`, text: `${of === 1 ? 'It is' : 'They are'} in ${where}.`, tone: 'good' };
  return { title: missing.length === of ? 'Nothing was uploaded' : 'Not everything was uploaded', text: missed(of, missing), tone: 'bad' };
}
