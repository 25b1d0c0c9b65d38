// Pods from files and directories: seen by inotify, by a re-scan every 20 s, and re-read once they have stopped changing.
// State of the world: every update holds all pods and all problems.
//
//   event or timer ─▶ list and stat ─▶ changed? settled? ─▶ read, parse ─▶ planFile ─▶ mergeFiles ─▶ onUpdate if it differs
//                                          └ not yet: look again a little later
import fs from 'node:fs/promises';
import path from 'node:path';
import { type Manifest, parseManifest } from '../manifest/manifest.ts';
import { explainSize, manifestLimitBytes } from '../manifest/yaml-text.ts';
import { DirectoryWatch } from './directory-watch.ts';
import { keyOf, type LastGood, loadLastGood, planFile, saveLastGood } from './last-good.ts';
import { type FilePods, mergeFiles } from './merge.ts';
import { renderProblem } from './render-problem.ts';
import { type Found, type FoundFile, isManifestName, type Listing, listManifests, pathOf } from './scan.ts';
import { Settling } from './settling.ts';
import type { Origin, PodSource, Problem, SourceUpdate } from './source.ts';

export interface FileSourceOptions {
  /** Directories or single files; they need not exist yet. */
  readonly paths: readonly string[];
  readonly nodeName: string;
  /** Called before openFileSource returns, and then at each change. All pods and all problems each time. */
  readonly onUpdate: (update: SourceUpdate) => void;
  /** Told each problem once, when it comes up. */
  readonly logger: SourceLogger;
  /** Where the last good version of each file is kept over a restart; without it a file that is broken then has none. */
  readonly lastGoodFile?: string;
  readonly rescanMs?: number;
}

export interface SourceLogger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** As the kubelet's fileCheckFrequency. */
const defaultRescanMs = 20_000;
/** Events come in groups: one look for all. */
const gatherMs = 10;
/** Look again so often where inotify cannot tell: absent paths, no watches left. */
const pollMs = 1000;
/** A file or directory that is gone may be one that is being replaced. */
const fileGoneMs = 200;
const directoryGoneMs = 2000;
const never = Number.POSITIVE_INFINITY;

export async function openFileSource(options: FileSourceOptions): Promise<PodSource> {
  const source = new FileSource(options, options.lastGoodFile ? await loadLastGood(options.lastGoodFile) : new Map());
  await source.start();
  return source;
}

interface FileState {
  readonly stamp: string;
  readonly plan: FilePods;
}

class FileSource implements PodSource {
  private readonly options: FileSourceOptions;
  private readonly roots: readonly string[];
  private readonly watch: DirectoryWatch;
  private readonly settling = new Settling();
  private readonly files = new Map<string, FileState>();
  private readonly listings = new Map<string, Listing>();
  /** Paths, of files and of roots. */
  private readonly goneSinceMs = new Map<string, number>();
  private readonly noticed = new Set<string>();
  private lastGood: LastGood;
  private update: SourceUpdate | undefined;
  private told = new Set<string>();
  private timer: NodeJS.Timeout | undefined;
  private timerAtMs = never;
  private looking: Promise<void> = Promise.resolve();
  private isLookQueued = false;
  private isComplete = false;
  private isClosed = false;

  constructor(options: FileSourceOptions, lastGood: LastGood) {
    this.options = options;
    this.roots = [...new Set(options.paths.map((root) => path.resolve(root)))].sort();
    this.lastGood = lastGood;
    this.watch = new DirectoryWatch((directory, name, contentOnly) => {
      if (this.concerns(directory, name, contentOnly)) this.lookIn(gatherMs);
    });
  }

  /** Returns when each file has been read once: an update that lacks one would end its pod. */
  async start(): Promise<void> {
    await this.look();
    while (!this.isComplete && !this.isClosed) {
      await new Promise((resolve) => setTimeout(resolve, gatherMs));
      await this.look();
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.watch.close();
    await this.looking;
  }

  private concerns(directory: string, name: string | undefined, contentOnly: boolean): boolean {
    if (name === undefined) return true;
    if (this.roots.includes(path.join(directory, name))) return true;
    // Entries that come and go count all: a mounted ConfigMap swaps its link ..data.
    return this.roots.includes(directory) && (!contentOnly || isManifestName(name));
  }

  private lookIn(ms: number): void {
    const atMs = performance.now() + ms;
    if (this.isClosed || !this.isComplete || atMs >= this.timerAtMs) return;
    clearTimeout(this.timer);
    this.timerAtMs = atMs;
    this.timer = setTimeout(() => {
      this.timerAtMs = never;
      void this.look();
    }, ms);
  }

  /** A look that is under way may have passed the change: one more follows it. */
  private look(): Promise<void> {
    if (this.isLookQueued) return this.looking;
    this.isLookQueued = true;
    this.looking = this.looking.then(async () => {
      this.isLookQueued = false;
      if (!this.isClosed) await this.lookNow();
    });
    return this.looking;
  }

  private async lookNow(): Promise<void> {
    let againMs = this.options.rescanMs ?? defaultRescanMs;
    const directories = new Set<string>();
    const present = new Set<string>();
    const problems: Problem[] = [];
    for (const root of this.roots) {
      const listing = this.settleRoot(await listManifests(root));
      directories.add(listing.state === 'directory' ? root : path.dirname(root));
      if (listing.state === 'absent' || listing.state === 'unreadable') {
        problems.push(explainRoot(listing, this.listings.has(root)));
        againMs = Math.min(againMs, pollMs);
      }
      this.noticeDirectories(listing);
      for (const found of listing.found) {
        present.add(pathOf(found));
        againMs = Math.min(againMs, await this.readFound(found));
      }
    }
    againMs = Math.min(againMs, this.forgetGone(present));
    if (!this.isComplete && !this.settling.isQuiet) return;
    this.isComplete = true;
    await this.publish(problems);
    if (!this.watch.follow(directories)) againMs = Math.min(againMs, pollMs);
    this.lookIn(againMs);
  }

  /** What cannot be listed is taken to be as it was; what is gone, only for a while. */
  private settleRoot(listing: Listing): Listing {
    const before = this.listings.get(listing.path);
    if (listing.state === 'directory' || listing.state === 'file') {
      this.goneSinceMs.delete(listing.path);
      this.listings.set(listing.path, listing);
      return listing;
    }
    if (listing.state === 'unreadable') return { ...listing, found: before?.found ?? this.rememberedBelow(listing.path) };
    const since = this.goneSinceMs.get(listing.path) ?? performance.now();
    this.goneSinceMs.set(listing.path, since);
    return before?.state === 'directory' && performance.now() - since < directoryGoneMs ? { ...listing, found: before.found } : listing;
  }

  /** Files known from before a restart, for a path that cannot be read now. */
  private rememberedBelow(root: string): Found[] {
    return [...this.lastGood.keys()]
      .filter((file) => file === root || path.dirname(file) === root)
      .map((file) => ({ kind: 'unreadable', path: file, error: new Error('its directory cannot be read') }));
  }

  private noticeDirectories(listing: Listing): void {
    for (const name of listing.directories) {
      const directory = path.join(listing.path, name);
      if (this.noticed.has(directory)) continue;
      this.noticed.add(directory);
      this.options.logger.info({ directory }, `${directory} is not looked into; pods are only in files of ${listing.path} itself`);
    }
  }

  /** Returns in how many milliseconds to look again. */
  private async readFound(found: Found): Promise<number> {
    const file = pathOf(found);
    const stamp = found.kind === 'file' ? found.file.stamp : `unreadable: ${found.error.message}`;
    if (this.files.get(file)?.stamp === stamp) {
      this.settling.settled(file);
      return never;
    }
    const ageMs = found.kind === 'file' ? Date.now() - found.file.modifiedMs : 0;
    const times = { nowMs: performance.now(), ageMs };
    const waitMs = this.settling.waitMs(file, stamp, { ...times, lossy: found.kind === 'unreadable' });
    if (waitMs > 0) return waitMs;
    const lastGood = this.lastGood.get(file) ?? [];
    const manifest = found.kind === 'file' ? await this.readManifest(found.file) : breakManifest(file, explainError(found.error));
    const lossy = manifest.refused.length > 0 || manifest.blank || manifest.pods.length < lastGood.length;
    const lossyWaitMs = this.settling.waitMs(file, stamp, { ...times, lossy });
    if (lossyWaitMs > 0) return lossyWaitMs;
    this.settling.settled(file);
    this.files.set(file, { stamp, plan: planFile(manifest, lastGood) });
    return never;
  }

  private async readManifest(file: FoundFile): Promise<Manifest> {
    if (file.sizeBytes > manifestLimitBytes) return breakManifest(file.path, explainSize(file.sizeBytes));
    let text: Buffer;
    try {
      text = await fs.readFile(file.path);
    } catch (error) {
      return breakManifest(file.path, explainError(error as Error));
    }
    const manifest = parseManifest(text, { file: file.path, nodeName: this.options.nodeName, source: 'file' });
    if (!manifest.blank) return manifest;
    const runs = this.lastGood.has(file.path);
    const message = runs ? 'the file is empty; remove it to end its pods' : 'the file is empty';
    return { ...manifest, problems: [{ origin: originOf(file.path), severity: runs ? 'refused' : 'ignored', message }] };
  }

  /** Drops files that have been gone for long enough, or whose pods moved to another file. Returns when to look again. */
  private forgetGone(present: ReadonlySet<string>): number {
    const keysOf = (file: string) => (this.files.get(file)?.plan.pods ?? []).map(keyOf);
    const elsewhere = new Set([...present].flatMap(keysOf));
    let againMs = never;
    for (const file of present) this.goneSinceMs.delete(file);
    for (const file of [...this.files.keys()].filter((known) => !present.has(known))) {
      const since = this.goneSinceMs.get(file) ?? performance.now();
      const waitMs = fileGoneMs - (performance.now() - since);
      if (waitMs > 0 && !keysOf(file).some((key) => elsewhere.has(key))) {
        this.goneSinceMs.set(file, since);
        againMs = Math.min(againMs, waitMs);
      } else {
        this.goneSinceMs.delete(file);
        this.files.delete(file);
      }
    }
    this.settling.keep(present);
    return againMs;
  }

  private async publish(rootProblems: readonly Problem[]): Promise<void> {
    const states = [...this.files].sort(([a], [b]) => (a < b ? -1 : 1));
    const plans = states.map(([, { plan }]) => plan);
    const merged = mergeFiles(plans, this.update?.pods ?? [...this.lastGood.values()].flat());
    const update: SourceUpdate = { pods: merged.pods, problems: [...rootProblems, ...merged.problems] };
    if (this.update && renderIdentity(update) === renderIdentity(this.update)) return;
    this.update = update;
    this.tell(update.problems);
    const running = new Set(merged.pods);
    await this.remember(new Map(states.map(([file, { plan }]) => [file, plan.pods.filter((pod) => running.has(pod))])));
    if (!this.isClosed) this.options.onUpdate(update);
  }

  private tell(problems: readonly Problem[]): void {
    const sentences = new Map(problems.map((problem) => [renderProblem(problem), problem]));
    for (const [sentence, { severity, origin, fieldPath }] of sentences) {
      if (this.told.has(sentence)) continue;
      const fields = { file: origin.file, document: origin.document, severity, ...(fieldPath ? { fieldPath } : {}) };
      if (severity === 'later') this.options.logger.info(fields, sentence);
      else this.options.logger.warn(fields, sentence);
    }
    this.told = new Set(sentences.keys());
  }

  private async remember(lastGood: LastGood): Promise<void> {
    this.lastGood = new Map([...lastGood].filter(([, pods]) => pods.length > 0));
    const { lastGoodFile, logger } = this.options;
    if (!lastGoodFile) return;
    try {
      await saveLastGood(lastGoodFile, this.lastGood);
    } catch (error) {
      // The pods run all the same; only a file that breaks over a restart would miss it.
      logger.warn({ err: error }, `write the record of pods ${lastGoodFile}: ${explainError(error as Error)}`);
    }
  }
}

function originOf(file: string): Origin {
  return { source: 'file', file, document: 0 };
}

/** A file of which nothing can be read. */
function breakManifest(file: string, message: string): Manifest {
  return { pods: [], problems: [{ origin: originOf(file), severity: 'refused', message }], refused: [{ document: 0 }], blank: false };
}

function explainRoot({ path: root, state, error }: Listing, wasThere: boolean): Problem {
  const explain = () => {
    if (state === 'unreadable') return `${explainError(error ?? new Error('it cannot be read'))}; its pods run on as they were`;
    return wasThere ? 'it is gone, and waited for' : 'there is no such file or directory yet; its pods start when it appears';
  };
  return { origin: originOf(root), severity: 'refused', message: explain() };
}

function explainError(error: Error): string {
  if ((error as NodeJS.ErrnoException).code === 'EACCES') return 'permission denied (EACCES); let the user that runs tskubelet read it';
  return error.message;
}

function renderIdentity({ pods, problems }: SourceUpdate): string {
  return JSON.stringify([pods.map(({ pod, hash, origin }) => [pod.metadata?.uid, hash, origin]), problems]);
}
