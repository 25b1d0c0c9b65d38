// Owns which IPAM plugin a main plugin hands its call to: host-local in this process, any other one as an executable.
import { CniError, INVALID_CONFIG } from '../spec/error.ts';
import { findExecutable, foreignPlugin } from '../spec/foreign.ts';
import type { NetworkCall, PluginType } from '../spec/plugin.ts';
import { hostLocal } from './host-local.ts';

export function ipamPlugin(type: string, { path }: NetworkCall): PluginType {
  if (type === 'host-local') return hostLocal;
  const file = findExecutable(type, path);
  if (file === undefined)
    throw new CniError(INVALID_CONFIG, `no IPAM plugin ${type}: not built in, and no executable in ${path.join(':') || 'CNI_PATH'}`);
  return foreignPlugin(file);
}
