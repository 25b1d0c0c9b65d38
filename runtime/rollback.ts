// Owns undoing: each effect registers its undo the moment it exists; a failure runs them backwards.

export interface Rollback {
  /** Registers the undo of what has just been made; `what` names it should the undo fail. */
  add(what: string, undo: () => Promise<void> | void): void;
  /** Runs the undos, last first, all of them; gives the failures. */
  run(): Promise<readonly Error[]>;
}

export function createRollback(): Rollback {
  const undos: { what: string; undo: () => Promise<void> | void }[] = [];
  return {
    add: (what, undo) => {
      undos.push({ what, undo });
    },
    run: async () => {
      const failures: Error[] = [];
      for (const { what, undo } of undos.splice(0).reverse()) {
        try {
          await undo();
        } catch (cause) {
          failures.push(new Error(`undo ${what}`, { cause }));
        }
      }
      return failures;
    },
  };
}
