// The plugin types that this program is: in its own process for its containers, and behind executables for other runtimes. Each is loaded
// when it is called for: an executable is started anew for every call.
import type { PluginType } from '../spec/plugin.ts';

export const PLUGIN_TYPES: ReadonlyMap<string, () => Promise<PluginType>> = new Map(
  Object.entries({
    bandwidth: async () => (await import('./bandwidth.ts')).bandwidth,
    bridge: async () => (await import('./bridge.ts')).bridge,
    'host-local': async () => (await import('./host-local.ts')).hostLocal,
    loopback: async () => (await import('./loopback.ts')).loopback,
    portmap: async () => (await import('./portmap.ts')).portmap,
    ptp: async () => (await import('./ptp.ts')).ptp,
    tuning: async () => (await import('./tuning.ts')).tuning,
  }),
);
