// The containers of a pod: names, images, environment, ports, resources, mounts and privileges.
import type { V1Container, V1ContainerPort, V1EnvVar, V1PodSpec, V1SecurityContext } from '@kubernetes/client-node';
import { didYouMean, type Report } from './field-problem.ts';
import { checkFieldPath } from './field-ref.ts';
import { compareQuantities, parseQuantity, toBytes } from './quantity.ts';
import { checkAddress, checkEnvName, checkLabelName, checkOneOf, checkPortName, checkQualifiedName } from './syntax.ts';
import { validateMounts } from './validate-mounts.ts';
import { validateUsers } from './validate-users.ts';

export function validateContainers(spec: V1PodSpec, path: string, report: Report): void {
  const { containers } = spec;
  if (containers.length === 0) report(`${path}.containers`, 'a pod needs at least one container');
  const names = new Map<string, string>();
  const hostPorts = new Map<string, string>();
  for (const [index, container] of containers.entries()) {
    const at = `${path}.containers[${index}]`;
    validateIdentity(container, at, names, report);
    for (const [number, variable] of (container.env ?? []).entries()) validateEnv(variable, `${at}.env[${number}]`, report);
    validatePorts(container.ports ?? [], { path: `${at}.ports`, hostNetwork: spec.hostNetwork === true, hostPorts, report });
    validateResources(container, `${at}.resources`, report);
    validateMounts(container, spec.volumes ?? [], `${at}.volumeMounts`, report);
    validatePrivileges(container.securityContext, `${at}.securityContext`, report);
  }
}

function validateIdentity(container: V1Container, path: string, names: Map<string, string>, report: Report): void {
  const { name = '', image = '' } = container;
  report(`${path}.name`, name === '' ? 'a container needs a name' : checkLabelName(name));
  const first = names.get(name);
  if (first !== undefined && name !== '') report(`${path}.name`, `container ${name} is there twice, first as ${first}; rename one of them`);
  else names.set(name, path);
  if (image === '') report(`${path}.image`, 'a container needs an image');
  else if (image.trim() !== image) report(`${path}.image`, `${JSON.stringify(image)} starts or ends with white space`);
  report(`${path}.imagePullPolicy`, checkOneOf(container.imagePullPolicy ?? 'IfNotPresent', ['Always', 'IfNotPresent', 'Never']));
  if (container.workingDir && !container.workingDir.startsWith('/')) {
    report(`${path}.workingDir`, `${JSON.stringify(container.workingDir)} is not an absolute path; start it with "/"`);
  }
}

function validateEnv(variable: V1EnvVar, path: string, report: Report): void {
  report(`${path}.name`, checkEnvName(variable.name ?? ''));
  const { value, valueFrom } = variable;
  if (!valueFrom) return;
  if (value) report(`${path}.valueFrom`, 'a variable has a value or valueFrom, not both');
  const sources = Object.keys(valueFrom);
  if (sources.length !== 1) {
    report(
      `${path}.valueFrom`,
      sources.length === 0 ? 'valueFrom names no source' : `valueFrom names several sources (${sources.join(', ')}); keep one`,
    );
  }
  if (!valueFrom.fieldRef) return;
  report(`${path}.valueFrom.fieldRef.apiVersion`, checkOneOf(valueFrom.fieldRef.apiVersion ?? 'v1', ['v1']));
  report(`${path}.valueFrom.fieldRef.fieldPath`, checkFieldPath(valueFrom.fieldRef.fieldPath ?? ''));
}

interface PortContext {
  readonly path: string;
  readonly hostNetwork: boolean;
  /** "TCP 0.0.0.0 8080" to the field that has it, over all containers. */
  readonly hostPorts: Map<string, string>;
  readonly report: Report;
}

function validatePorts(ports: readonly V1ContainerPort[], { path, hostNetwork, hostPorts, report }: PortContext): void {
  const names = new Set<string>();
  for (const [index, port] of ports.entries()) {
    const at = `${path}[${index}]`;
    const { containerPort, hostPort, hostIP, name, protocol = 'TCP' } = port;
    report(`${at}.containerPort`, containerPort === undefined ? 'a port needs a containerPort' : checkPort(containerPort));
    report(`${at}.protocol`, checkOneOf(protocol, ['TCP', 'UDP', 'SCTP']));
    if (hostIP) report(`${at}.hostIP`, checkAddress(hostIP));
    if (name) {
      report(`${at}.name`, checkPortName(name));
      if (names.has(name)) report(`${at}.name`, `port ${name} is there twice in this container; rename one of them`);
      names.add(name);
    }
    if (!hostPort) continue;
    report(`${at}.hostPort`, checkPort(hostPort));
    if (hostNetwork && hostPort !== containerPort) {
      report(`${at}.hostPort`, `with hostNetwork the host's port is the container's: ${hostPort} is not ${containerPort}; remove hostPort`);
    }
    const key = `${protocol} ${hostIP || '0.0.0.0'} ${hostPort}`;
    const holder = hostPorts.get(key);
    if (holder) report(`${at}.hostPort`, `${protocol} port ${hostPort} of the host is taken by ${holder}`);
    else hostPorts.set(key, at);
  }
}

function checkPort(port: number): string | undefined {
  return port < 1 || port > 65535 ? `${port} is not a port; ports are 1 to 65535` : undefined;
}

const wholeResources = /^(memory|ephemeral-storage|hugepages-.+)$/;
const nodeResources = ['cpu', 'memory', 'ephemeral-storage'];

function validateResources({ resources }: V1Container, path: string, report: Report): void {
  const limits = resources?.limits ?? {};
  const requests = resources?.requests ?? {};
  for (const [kind, quantities] of [['limits', limits] as const, ['requests', requests] as const]) {
    for (const [name, text] of Object.entries(quantities)) {
      // A request that only repeats its limit by default would tell everything twice.
      if (kind === 'requests' && limits[name] === text) continue;
      const at = `${path}.${kind}[${name}]`;
      if (!checkResourceName(name, at, report)) continue;
      if (compareQuantities(text, '0') < 0) report(at, `${text} is negative`);
      if (wholeResources.test(name) && parseQuantity(text).nano % 1_000_000_000n !== 0n) {
        const meant = /^\d+m$/.test(text) ? `; did you mean ${text.replace('m', 'Mi')}?` : '; write whole bytes';
        report(at, `${text} is a fraction of a byte${meant}`);
      } else if (kind === 'limits' && name === 'memory' && toBytes(text) === 0n) {
        report(at, 'a limit of 0 bytes would end the container at once; remove it for no limit', 'ignored');
      }
    }
  }
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit !== undefined && compareQuantities(request, limit) > 0) {
      report(`${path}.requests[${name}]`, `the request ${request} is more than the limit ${limit}`);
    }
  }
}

/** False when the quantity needs no further look. */
function checkResourceName(name: string, path: string, report: Report): boolean {
  if (name === 'cpu' || name === 'memory' || name.startsWith('hugepages-')) return true;
  if (name === 'ephemeral-storage') {
    report(path, 'not yet acted on; the pod runs without it', 'later');
    return true;
  }
  const wrong = checkQualifiedName(name);
  if (wrong) report(path, wrong);
  else if (name.includes('/')) report(path, `${name} is offered by no device plugin on this node`);
  else {
    const meant = didYouMean(name, nodeResources);
    report(
      path,
      `${name} is not a resource${meant ? `; did you mean ${meant}?` : `; known are ${nodeResources.join(', ')} and hugepages-<size>`}`,
    );
  }
  return false;
}

function validatePrivileges(context: V1SecurityContext | undefined, path: string, report: Report): void {
  if (!context) return;
  validateUsers(context, path, report);
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged) report(`${path}.allowPrivilegeEscalation`, 'a privileged container can always escalate; remove one of the two');
    if (context.capabilities?.add?.some((name) => /^(CAP_)?SYS_ADMIN$/.test(name))) {
      report(`${path}.allowPrivilegeEscalation`, 'a container with SYS_ADMIN can always escalate; remove one of the two');
    }
  }
  for (const kind of ['add', 'drop'] as const) {
    for (const [index, name] of (context.capabilities?.[kind] ?? []).entries()) {
      const at = `${path}.capabilities.${kind}[${index}]`;
      if (/^CAP_/i.test(name)) report(at, `${name} is written without CAP_ here: ${name.slice(4).toUpperCase()}`);
      else if (!/^[A-Z_]+$/.test(name)) report(at, `${JSON.stringify(name)} is not a capability; they are written like NET_ADMIN`);
    }
  }
}
