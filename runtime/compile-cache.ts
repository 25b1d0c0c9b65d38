// Owns where compiled modules are kept from one start to the next: beside the code, where only those write who could change the code as
// well. The default is below /tmp, and what another user had put there first would be run.
import module from 'node:module';
import path from 'node:path';

export function keepCompiled(): void {
  module.enableCompileCache(path.join(import.meta.dirname, '../.compile-cache'));
}
