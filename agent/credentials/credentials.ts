// Owns which credentials the agent sends along with a pull: those of the kubelet's provider plugins, and of config.json where the runtime
// is another one, which does not read that itself.
import { type Credentials, openDockerCredentials, planConfigFiles } from '../../runtime/credentials/docker-config.ts';
import { repositoryOfImage } from '../../runtime/credentials/match-image.ts';
import type { Logger } from '../../runtime/logger.ts';
import { describeError } from '../error.ts';
import { readProviderConfig } from './provider-config.ts';
import { type FindProvided, openProviders } from './providers.ts';

export interface CredentialSettings {
  readonly rootDir: string;
  readonly foreignRuntime: string | undefined;
  readonly credentialProviders: { readonly configFile: string; readonly binDir: string } | undefined;
}

/** Throws a sentence when the configuration of the plugins cannot be used. */
export async function openCredentials(
  { rootDir, foreignRuntime, credentialProviders }: CredentialSettings,
  logger: Logger,
): Promise<(image: string) => Promise<readonly Credentials[]>> {
  const onFailure = (error: unknown) => logger.warn({}, describeError(error));
  const find: FindProvided[] = [];
  if (credentialProviders !== undefined) {
    const { configFile, binDir } = credentialProviders;
    find.push(openProviders(await readProviderConfig(configFile, binDir), { binDir, onFailure }));
  }
  if (foreignRuntime !== undefined) {
    const ofDocker = openDockerCredentials(planConfigFiles(process.env, rootDir));
    find.push(async (repository) => {
      try {
        const found = await ofDocker(repository);
        return found === undefined ? [] : [found];
      } catch (error) {
        onFailure(error);
        return [];
      }
    });
  }
  return async (image) => {
    const found: Credentials[] = [];
    for (const each of find) found.push(...(await each(repositoryOfImage(image))));
    return found;
  };
}
