// What is done one at a time. Pure.

/**
 * Has one run at a time: however often it is asked for meanwhile, it runs once more after that, where `run` says that it went well. What it gives
 * is over once all of that is.
 */
export function oneAtATime(run: () => Promise<boolean>): () => Promise<void> {
  let busy = false;
  let asked = false;
  return async () => {
    asked = true;
    if (busy) return;
    busy = true;
    try {
      do asked = false;
      while ((await run()) && asked);
    } finally {
      busy = false;
    }
  };
}

/** Tasks one after another. */
export class Line {
  #last: Promise<void> = Promise.resolve();

  /** Does a task after all that were added before. Where it fails, `failed` is called, and the next one begins all the same. */
  add(task: () => Promise<void>, failed: (error: unknown) => void): Promise<void> {
    this.#last = this.#last.then(task).catch(failed);
    return this.#last;
  }
}
