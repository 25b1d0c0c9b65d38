// Owns random messages of our API, made from its descriptors: every field of every message gets values that are usual, odd or impossible.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';

// The parts of protobuf's FileDescriptorSet, in its JSON form, that say what a message may hold.
interface Field {
  readonly name: string;
  readonly jsonName: string;
  readonly label: string;
  readonly type: string;
  readonly typeName?: string;
}
interface Message {
  readonly name: string;
  readonly field?: readonly Field[];
  readonly nestedType?: readonly Message[];
  readonly enumType?: readonly Enum[];
  readonly options?: { readonly mapEntry?: boolean };
}
interface Enum {
  readonly name: string;
  readonly value: readonly { readonly number?: number }[];
}
interface Method {
  readonly name: string;
  readonly inputType: string;
}
interface File {
  readonly package: string;
  readonly messageType: readonly Message[];
  readonly enumType: readonly Enum[];
  readonly service: readonly { readonly name: string; readonly method: readonly Method[] }[];
}

/** Arbitraries in place of the descriptor's, by "Message.field" or "field" as the proto file writes them; the more exact name wins. */
export type Overrides = Readonly<Record<string, fc.Arbitrary<unknown>>>;

export interface RequestArbitrary {
  /** "RuntimeService" */
  readonly service: string;
  /** "RunPodSandbox" */
  readonly method: string;
  readonly request: fc.Arbitrary<object>;
}

/** Messages without which a request says next to nothing. */
const CARRIERS = new Set(['config', 'image', 'linux', 'filter']);

const root = path.resolve(import.meta.dirname, '../..');

export async function requestArbitraries(strings: fc.Arbitrary<string>, overrides: Overrides): Promise<readonly RequestArbitrary[]> {
  const buf = path.join(root, 'node_modules/.bin/buf');
  const built = await promisify(execFile)(buf, ['build', 'cri-proto/api.proto', '-o', '-#format=json'], { cwd: root, maxBuffer: 16 << 20 });
  const file = (JSON.parse(built.stdout) as { file: [File] }).file[0];
  const messages = new Map<string, Message>();
  const enums = new Map<string, Enum>();
  const collect = (outer: string, { name, nestedType = [], enumType = [], ...message }: Message) => {
    messages.set(`${outer}.${name}`, { name, ...message });
    for (const nested of nestedType) collect(`${outer}.${name}`, nested);
    for (const its of enumType) enums.set(`${outer}.${name}.${its.name}`, its);
  };
  for (const message of file.messageType) collect(`.${file.package}`, message);
  for (const its of file.enumType) enums.set(`.${file.package}.${its.name}`, its);

  const made = new Map<string, fc.Arbitrary<object>>();
  const messageOf = (typeName: string): fc.Arbitrary<object> => {
    const known = made.get(typeName);
    if (known !== undefined) return known;
    const message = messages.get(typeName);
    if (message === undefined) throw new Error(`no message ${typeName}`);
    const arbitrary = fc.record(Object.fromEntries((message.field ?? []).map((field) => [field.jsonName, fieldOf(message, field)])));
    made.set(typeName, arbitrary);
    return arbitrary;
  };
  const fieldOf = (message: Message, field: Field): fc.Arbitrary<unknown> => {
    const override = overrides[`${message.name}.${field.name}`] ?? overrides[field.name];
    if (override !== undefined) return override;
    const entry = field.typeName === undefined ? undefined : messages.get(field.typeName);
    if (entry?.options?.mapEntry)
      return fc.oneof({ weight: 6, arbitrary: fc.constant({}) }, fc.dictionary(strings, strings, { maxKeys: 3 }));
    const one = scalarOf(field);
    if (field.label === 'LABEL_REPEATED') return fc.oneof({ weight: 12, arbitrary: fc.constant([]) }, fc.array(one, { maxLength: 3 }));
    return field.type === 'TYPE_MESSAGE'
      ? fc.oneof({ weight: CARRIERS.has(field.name) ? 12 : 1, arbitrary: one }, { weight: 2, arbitrary: fc.constant(undefined) })
      : one;
  };
  const scalarOf = ({ type, typeName = '' }: Field): fc.Arbitrary<unknown> => {
    switch (type) {
      case 'TYPE_MESSAGE':
        return messageOf(typeName);
      case 'TYPE_ENUM':
        return enumOf(enums.get(typeName));
      case 'TYPE_STRING':
        return strings;
      case 'TYPE_BYTES':
        return fc.uint8Array({ maxLength: 32 });
      case 'TYPE_BOOL':
        return fc.boolean();
      case 'TYPE_INT64':
        return fc.constantFrom(...Array<bigint>(24).fill(0n), 1n, -1n, 1000n, 1n << 31n, (1n << 63n) - 1n, -(1n << 63n));
      case 'TYPE_UINT64':
        return fc.constantFrom(0n, 0n, 1n, 1n << 31n, (1n << 64n) - 1n);
      case 'TYPE_INT32':
        return fc.constantFrom(...Array<number>(12).fill(0), 1, -1, 80, 65_535, 70_000, 2 ** 31 - 1, -(2 ** 31));
      case 'TYPE_UINT32':
        return fc.constantFrom(0, 1, 2 ** 32 - 1);
      case 'TYPE_DOUBLE':
        return fc.double();
      default:
        throw new Error(`no values for ${type}`);
    }
  };
  const enumOf = (its: Enum | undefined): fc.Arbitrary<number> => {
    const numbers = (its?.value ?? []).map(({ number }) => number ?? 0);
    return fc.oneof({ weight: 80, arbitrary: fc.constantFrom(...numbers) }, fc.constantFrom(99, -7));
  };
  return file.service.flatMap(({ name, method }) =>
    method.map((its) => ({ service: name, method: its.name, request: messageOf(its.inputType) })),
  );
}
