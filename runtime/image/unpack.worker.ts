// The entry of the thread that unpacks. Compiled code is kept between threads as it is between processes, which halves the time until the
// first byte is unpacked; what is imported before that is asked for would be left out.
import module from 'node:module';
import os from 'node:os';
import { keepCompiled } from '../compile-cache.ts';

// Of this thread alone (setpriority(2), "Linux/NPTL"): where processors are short, the daemon's event loop does not wait for an archive.
os.setPriority(10);
keepCompiled();
await import('./unpack-thread.ts');
module.flushCompileCache();
