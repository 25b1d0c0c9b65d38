// Owns `image history`: the steps that made an image, from its config (OCI image-spec, config.md) and the sizes of its layers. Pure.
import { renderAge, renderSize, renderTable } from './table.ts';

export interface HistoryStep {
  readonly created: string;
  readonly createdBy: string;
  readonly comment: string;
  /** Of the layer as it is unpacked; 0 for a step that made none, absent where the runtime does not tell. */
  readonly sizeBytes?: number;
  /** Absent for a step that made no layer. */
  readonly diffId?: string;
}

const text = (value: unknown) => (typeof value === 'string' ? value : '');

/** Newest first. Layers that no step speaks of come first as well: they were added by a tool that writes no history. */
export function readHistory(details: unknown): readonly HistoryStep[] {
  const { imageSpec, layerSizes } = (details ?? {}) as {
    imageSpec?: { history?: unknown; rootfs?: { diff_ids?: unknown } };
    layerSizes?: unknown;
  };
  const history = Array.isArray(imageSpec?.history) ? (imageSpec.history as Record<string, unknown>[]) : [];
  const diffIds = Array.isArray(imageSpec?.rootfs?.diff_ids) ? imageSpec.rootfs.diff_ids.map(text) : [];
  const sizes = Array.isArray(layerSizes) ? layerSizes.map(Number) : [];
  const layer = (at: number) => ({
    ...(diffIds[at] === undefined ? {} : { diffId: diffIds[at] }),
    ...(sizes[at] === undefined ? {} : { sizeBytes: sizes[at] }),
  });
  let next = 0;
  const steps = history.map(({ created, created_by: createdBy, comment, empty_layer: empty }): HistoryStep => {
    const step = { created: text(created), createdBy: text(createdBy), comment: text(comment) };
    return empty === true ? { ...step, sizeBytes: 0 } : { ...step, ...layer(next++) };
  });
  const unspoken = diffIds.slice(next).map((_, i): HistoryStep => ({ created: '', createdBy: '', comment: '', ...layer(next + i) }));
  return [...steps, ...unspoken].reverse();
}

const SHORT_CHARS = 45;

export function renderHistory(steps: readonly HistoryStep[], output: string | undefined, nowMs = Date.now()): string {
  if (output === 'json') return `${JSON.stringify(steps, null, 2)}\n`;
  const cut = (line: string) => (output === 'wide' || line.length <= SHORT_CHARS ? line : `${line.slice(0, SHORT_CHARS - 1)}…`);
  const rows = steps.map(({ created, createdBy, comment, sizeBytes }) => {
    const atMs = Date.parse(created);
    const line = createdBy.replace(/\s+/g, ' ').replace(/^\/bin\/sh -c #\(nop\) */, '');
    return [
      Number.isNaN(atMs) ? '<unknown>' : `${renderAge(nowMs - atMs)} ago`,
      line === '' ? '<unknown>' : cut(line),
      sizeBytes === undefined ? '<unknown>' : renderSize(sizeBytes),
      comment,
    ];
  });
  return renderTable(['CREATED', 'CREATED BY', 'SIZE', 'COMMENT'], rows);
}
