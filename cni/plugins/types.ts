// The plugin types that this program is: in its own process for its containers, and behind executables for other runtimes.
import type { PluginType } from '../spec/plugin.ts';
import { bandwidth } from './bandwidth.ts';
import { bridge } from './bridge.ts';
import { hostLocal } from './host-local.ts';
import { loopback } from './loopback.ts';
import { portmap } from './portmap.ts';
import { ptp } from './ptp.ts';
import { tuning } from './tuning.ts';

export const PLUGIN_TYPES: ReadonlyMap<string, PluginType> = new Map(
  Object.entries({ bandwidth, bridge, 'host-local': hostLocal, loopback, portmap, ptp, tuning }),
);
