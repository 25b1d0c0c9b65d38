// Owns the attacker's tool of the containment tests: Perl makes any system call by its number. Without it (or on another architecture
// than x86_64, whose numbers these are) the tests that need it say so.
import fs from 'node:fs';
import { execIn } from './cri.ts';
import type { TestNode } from './test-node.ts';

const PERL_PATH = '/usr/bin/perl';

/** Perl and busybox of this host. */
export const PERL = 'localhost/perl:host';

export const noPerl = !fs.existsSync(PERL_PATH)
  ? `needs ${PERL_PATH}`
  : process.arch === 'x64'
    ? false
    : 'knows the system call numbers of x86_64 only';

export async function buildPerlImage(node: TestNode): Promise<void> {
  const { code, stderr } = await node.tskubelet(['image', 'build-host', 'perl', '--bin', PERL_PATH, '--bin', '/usr/bin/busybox']);
  if (code !== 0) throw new Error(`image build-host: ${stderr}`);
}

/** Runs a Perl program in a container; gives what it prints. */
export async function perlIn(node: TestNode, containerId: string, program: string, args: readonly string[] = []): Promise<string> {
  const { code, stdout, stderr } = await execIn(node.cri, containerId, ['perl', '-e', program, ...args], 20);
  if (code !== 0) throw new Error(`perl ended with ${code}: ${stderr}`);
  return stdout;
}

/** The same with busybox' shell; gives both streams in one. */
export async function shellIn(node: TestNode, containerId: string, script: string): Promise<string> {
  return (await execIn(node.cri, containerId, ['busybox', 'sh', '-c', `exec 2>&1; ${script}`], 20)).stdout;
}
