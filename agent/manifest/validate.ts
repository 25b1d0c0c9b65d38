// Whether a decoded, defaulted pod can be run as it says: kube-apiserver's rules for the fields that are acted on.
import type { V1HostAlias, V1Pod, V1PodDNSConfig, V1PodSpec, V1Volume } from '@kubernetes/client-node';
import { type FieldProblem, fieldOf, type Report } from './field-problem.ts';
import { compareQuantities } from './quantity.ts';
import {
  checkAbsolutePath,
  checkAddress,
  checkLabelName,
  checkLabelValue,
  checkOneOf,
  checkQualifiedName,
  checkSubdomain,
  checkUid,
} from './syntax.ts';
import { validateContainers } from './validate-container.ts';
import { validateUsers } from './validate-users.ts';

/** Every problem, not the first alone. path: where the pod stands in its document. */
export function validatePod(pod: V1Pod, path = ''): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const report: Report = (fieldPath, message, severity = 'refused') => {
    if (message !== undefined) problems.push({ fieldPath, severity, message });
  };
  validateMetadata(pod.metadata ?? {}, fieldOf(path, 'metadata'), report);
  if (pod.spec) validateSpec(pod.spec, fieldOf(path, 'spec'), report);
  return problems;
}

const annotationsLimitBytes = 256 * 1024;

function validateMetadata(metadata: NonNullable<V1Pod['metadata']>, path: string, report: Report): void {
  report(`${path}.name`, metadata.name ? checkSubdomain(metadata.name) : 'a pod needs a name');
  if (metadata.namespace) report(`${path}.namespace`, checkLabelName(metadata.namespace));
  if (metadata.uid) report(`${path}.uid`, checkUid(metadata.uid));
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    report(`${path}.labels[${key}]`, checkQualifiedName(key) ?? checkLabelValue(value));
  }
  let annotationsBytes = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    // Annotation keys, unlike label keys, may be in any case: the check is on the lower case form.
    report(`${path}.annotations[${key}]`, checkQualifiedName(key.toLowerCase()));
    annotationsBytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (annotationsBytes > annotationsLimitBytes) {
    report(`${path}.annotations`, `annotations have ${annotationsBytes} bytes, at most ${annotationsLimitBytes} are allowed`);
  }
}

function validateSpec(spec: V1PodSpec, path: string, report: Report): void {
  validateVolumes(spec.volumes ?? [], `${path}.volumes`, report);
  validateContainers(spec, path, report);
  report(`${path}.restartPolicy`, checkOneOf(spec.restartPolicy ?? 'Always', ['Always', 'OnFailure', 'Never']));
  if ((spec.terminationGracePeriodSeconds ?? 0) < 0) report(`${path}.terminationGracePeriodSeconds`, 'a grace period cannot be negative');
  if (spec.hostname) report(`${path}.hostname`, checkLabelName(spec.hostname));
  if (spec.subdomain) report(`${path}.subdomain`, checkLabelName(spec.subdomain));
  if (spec.os?.name)
    report(`${path}.os.name`, spec.os.name === 'linux' ? undefined : `${spec.os.name} containers do not run on this node, which is linux`);
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC'] as const)
    if (spec.hostUsers === false && spec[field])
      report(
        `${path}.${field}`,
        'a pod with users of its own (hostUsers: false) cannot share this namespace of the host; remove one of the two',
      );
  if (spec.hostPID && spec.shareProcessNamespace) {
    report(`${path}.shareProcessNamespace`, "the containers share the host's processes already (hostPID); remove one of the two");
  }
  validateDns(spec.dnsPolicy ?? 'ClusterFirst', spec.dnsConfig, path, report);
  for (const [index, alias] of (spec.hostAliases ?? []).entries()) validateHostAlias(alias, `${path}.hostAliases[${index}]`, report);
  validateUsers(spec.securityContext ?? {}, `${path}.securityContext`, report);
}

function validateDns(policy: string, config: V1PodDNSConfig | undefined, path: string, report: Report): void {
  report(`${path}.dnsPolicy`, checkOneOf(policy, ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None']));
  const nameservers = config?.nameservers ?? [];
  if (policy === 'None' && nameservers.length === 0)
    report(`${path}.dnsConfig.nameservers`, 'dnsPolicy None needs at least one nameserver here');
  // resolv.conf(5): MAXNS is 3.
  if (nameservers.length > 3) report(`${path}.dnsConfig.nameservers`, `${nameservers.length} nameservers are given, at most 3 are used`);
  for (const [index, address] of nameservers.entries()) report(`${path}.dnsConfig.nameservers[${index}]`, checkAddress(address));
  const searches = config?.searches ?? [];
  if (searches.length > 32) report(`${path}.dnsConfig.searches`, `${searches.length} search domains are given, at most 32 are used`);
  for (const [index, domain] of searches.entries()) {
    if (domain !== '.') report(`${path}.dnsConfig.searches[${index}]`, checkSubdomain(domain.replace(/\.$/, '').replaceAll('_', '-')));
  }
  for (const [index, option] of (config?.options ?? []).entries()) {
    if (!option.name) report(`${path}.dnsConfig.options[${index}].name`, 'an option needs a name');
  }
}

function validateHostAlias(alias: V1HostAlias, path: string, report: Report): void {
  report(`${path}.ip`, checkAddress(alias.ip ?? ''));
  for (const [index, name] of (alias.hostnames ?? []).entries()) report(`${path}.hostnames[${index}]`, checkSubdomain(name));
}

const hostPathTypes = ['', 'DirectoryOrCreate', 'Directory', 'FileOrCreate', 'File', 'Socket', 'CharDevice', 'BlockDevice'];

function validateVolumes(volumes: readonly V1Volume[], path: string, report: Report): void {
  const seen = new Map<string, number>();
  for (const [index, volume] of volumes.entries()) {
    const { name = '', ...sources } = volume;
    const at = `${path}[${index}]`;
    report(`${at}.name`, name === '' ? 'a volume needs a name' : checkLabelName(name));
    const first = seen.get(name);
    if (first !== undefined && name !== '')
      report(`${at}.name`, `volume ${name} is there twice, first as ${path}[${first}]; rename one of them`);
    else seen.set(name, index);
    const kinds = Object.keys(sources);
    if (kinds.length > 1) report(at, `volume ${name} is of several kinds (${kinds.join(', ')}); keep one`);
    validateEmptyDir(volume, at, report);
    if (volume.image) {
      report(`${at}.image.reference`, volume.image.reference ? undefined : 'an image volume needs the reference of an image');
      report(`${at}.image.pullPolicy`, checkOneOf(volume.image.pullPolicy ?? 'IfNotPresent', ['Always', 'IfNotPresent', 'Never']));
    }
    if (volume.hostPath) {
      report(`${at}.hostPath.path`, volume.hostPath.path ? checkAbsolutePath(volume.hostPath.path) : 'hostPath needs a path');
      report(`${at}.hostPath.type`, checkOneOf(volume.hostPath.type ?? '', hostPathTypes));
    }
  }
}

function validateEmptyDir({ emptyDir }: V1Volume, path: string, report: Report): void {
  if (!emptyDir) return;
  const { medium = '', sizeLimit } = emptyDir;
  if (/^HugePages(-.+)?$/.test(medium)) {
    report(`${path}.emptyDir.medium`, 'not yet acted on, and the pod is refused because the files would not be on huge pages');
  } else {
    report(`${path}.emptyDir.medium`, checkOneOf(medium, ['', 'Memory']));
  }
  if (sizeLimit !== undefined && compareQuantities(sizeLimit, '0') < 0) report(`${path}.emptyDir.sizeLimit`, `${sizeLimit} is negative`);
}
