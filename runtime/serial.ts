// Owns "one at a time" for an object: calls on one sandbox or container follow each other, calls on different ones do not wait.

/** A queue of one: each task starts when the one before has settled, whatever became of it. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T>): Promise<T> {
    const next = this.#last.then(task, task);
    this.#last = next.catch(() => undefined);
    return next;
  }
}
