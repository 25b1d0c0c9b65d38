// Owns the loopback step: lo of the sandbox is up, also when whoever made the namespace did not see to it.
import { setLinkUp } from './link.ts';
import type { Plugin } from './plugin.ts';

/** The kernel gives every network namespace its lo as the first link. */
const LOOPBACK_INDEX = 1;

export const loopback: Plugin = {
  type: 'loopback',
  add: async (record, { sandbox }) => {
    await sandbox.request(setLinkUp(LOOPBACK_INDEX, 'lo'));
    return record;
  },
  // lo lives as long as its namespace.
  del: async () => undefined,
};
