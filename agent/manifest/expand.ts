// $(NAME) in env, command and args: the value of an earlier variable; $$(NAME) is the text $(NAME); unknown names stay as written.
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { fieldRefValue, type PodAddresses } from './field-ref.ts';

export function expandText(text: string, values: ReadonlyMap<string, string>): string {
  // "$$" is read before "$(", so $$(A) gives $(A) and $$$(A) gives $ and A's value.
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (written, name: string | undefined) => {
    if (name === undefined) return '$';
    return values.get(name) ?? written;
  });
}

/**
 * The variables of a container in order, each able to use those before it; a name given twice has its last value.
 * Variables whose source is optional and absent are left out.
 */
export function expandEnv(container: V1Container, pod: V1Pod, addresses: PodAddresses): Map<string, string> {
  const values = new Map<string, string>();
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (valueFrom?.fieldRef) values.set(name, fieldRefValue(pod, valueFrom.fieldRef.fieldPath, addresses));
    else if (!valueFrom) values.set(name, expandText(value ?? '', values));
  }
  return values;
}

/** command and args as the container gets them. */
export function expandWords(words: readonly string[] | undefined, values: ReadonlyMap<string, string>): string[] {
  return (words ?? []).map((word) => expandText(word, values));
}

/** The same where an unknown name is a mistake. `what` names the text. */
export function expandStrictly(text: string, values: ReadonlyMap<string, string>, what: string): string {
  return text.replace(/\$\$|\$\(([^)]*)\)/g, (_written, name: string | undefined) => {
    if (name === undefined) return '$';
    const value = values.get(name);
    if (value === undefined) throw new Error(`${what}: the container has no variable ${name}`);
    return value;
  });
}
