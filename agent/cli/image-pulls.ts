// Owns what the agent tells of the pulls that go on.
import type { ImagePull } from '../image/pulls.ts';
import { getJson } from './agent-client.ts';
import type { Settings } from './settings.ts';

export interface PodPull extends Pick<ImagePull, 'container' | 'image' | 'layers' | 'transfer'> {
  readonly namespace: string;
  readonly pod: string;
}

export function listPulls(settings: Settings): Promise<readonly PodPull[]> {
  return getJson<readonly PodPull[]>(settings, '/imagePulls');
}
