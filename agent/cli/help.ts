// Owns what `--help` says of one command, or of a verb of one. Pure.
import { COMMAND_FLAGS, type CommandFlag, NODE_FLAGS, renderFlag } from './flags.ts';

export interface Help {
  readonly usage: string;
  readonly help: string;
  /** More lines. */
  readonly details?: readonly string[];
  /** Its own flags; any other one of a command is refused. */
  readonly flags: readonly CommandFlag[];
}

export function renderCommandHelp({ usage, help, details = [], flags }: Help): string {
  return [
    `usage: tskubelet ${usage}`,
    '',
    `${help.slice(0, 1).toUpperCase()}${help.slice(1)}.`,
    ...details,
    '',
    ...flags.map((name) => renderFlag(name, COMMAND_FLAGS[name])),
    ...(['root-dir', 'run-dir', 'log-dir'] as const).map((name) => renderFlag(name, NODE_FLAGS[name])),
    '',
  ].join('\n');
}
