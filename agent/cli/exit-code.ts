// Owns the exit codes of `run` and `exec` that no program has returned: a shell's. Pure.

/** The command did not run at all. */
export const OWN_FAILURE = 125;
export const NOT_EXECUTABLE = 126;
export const NOT_FOUND = 127;

/** A shell's two codes for what could not be executed, from the runtime's sentence: CRI has no field for them. */
export function codeOfFailure(sentence: string): number {
  if (!/\bexec:? "/.test(sentence)) return OWN_FAILURE;
  if (/no such file or directory|not found|interpreter is not/.test(sentence)) return NOT_FOUND;
  return /permission denied|exec format error|is a directory/.test(sentence) ? NOT_EXECUTABLE : OWN_FAILURE;
}
