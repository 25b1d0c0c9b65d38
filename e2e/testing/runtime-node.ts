// Owns the runtime alone on a test node, for a whole test file.
import path from 'node:path';
import { after } from 'node:test';
import { TestNode, type TestNodeOptions } from './test-node.ts';

export interface RuntimeNode {
  readonly node: TestNode;
  /** The log directory of a sandbox. */
  readonly logs: (sandbox: string) => string;
}

/** Goes with the file's last test. */
export async function startRuntimeNode(options: TestNodeOptions = {}): Promise<RuntimeNode> {
  const node = await TestNode.create(options);
  try {
    await node.start('runtime');
  } catch (error) {
    await node.destroy();
    throw error;
  }
  after(() => node.destroy());
  return { node, logs: (sandbox) => path.join(node.logDir, sandbox) };
}
