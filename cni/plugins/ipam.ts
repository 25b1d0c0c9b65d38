// Owns which IPAM plugin a main plugin hands its call to: host-local in this process, any other one as an executable.
import { CniError, INVALID_CONFIG } from '../spec/error.ts';
import type { NetworkCall, PluginType } from '../spec/plugin.ts';
import { hostLocal } from './host-local.ts';

export async function ipamPlugin(type: string, { path }: NetworkCall): Promise<PluginType> {
  if (type === 'host-local') return hostLocal;
  const { findExecutable, foreignPlugin } = await import('../spec/foreign.ts');
  const file = findExecutable(type, path);
  if (file === undefined)
    throw new CniError(INVALID_CONFIG, `no IPAM plugin ${type}: not built in, and no executable in ${path.join(':') || 'CNI_PATH'}`);
  return foreignPlugin(file);
}
