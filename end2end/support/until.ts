// Waiting on a condition with a deadline.

/** How often a condition is looked at again. Short, as most of what is waited for takes some tens of milliseconds. */
const LOOK_EVERY_MS = 20;

/** Lets other tasks go on until the next look. */
export const nextLook = (ms = LOOK_EVERY_MS): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** An error that no waiting mends. */
export class Final extends Error {}

/**
 * Asks until the answer is neither `undefined` nor `false`, and gives it.
 *
 * # Errors
 * Past the deadline, with what was waited for and the last thing that was thrown; at once for [`Final`].
 */
export async function until<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  deadlineMs = 15_000,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      last = undefined;
    } catch (error) {
      if (error instanceof Final) throw error;
      last = error;
    }
    if (performance.now() > end) {
      const why = last === undefined ? '' : `; last: ${last instanceof Error ? last.message : String(last)}`;
      throw new Error(`waited ${deadlineMs} ms for: ${what}${why}`);
    }
    await nextLook();
  }
}
