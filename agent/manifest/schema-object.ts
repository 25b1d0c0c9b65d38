// How the tables of schema*.ts describe an object of the API: its fields, their types, and what tskubelet does with each.

/** "string", "[]string", "map[string]", "Container", "[]Container"; "any" is not looked into. */
export type FieldType = string;

export interface Later {
  readonly type: FieldType;
  /** The value that means the same as leaving the field out. */
  readonly usual?: unknown;
  /** Present: a pod that sets the field is refused, since running it without would be wrong. Why, in one clause. */
  readonly refused?: string;
}

export interface ObjectSchema {
  /** Acted on (where the object itself is). */
  readonly fields: Readonly<Record<string, FieldType>>;
  /** Known, not yet acted on. */
  readonly later?: Readonly<Record<string, Later>>;
  /** Written by an API server into what it returns; dropped without a word. */
  readonly server?: readonly string[];
}

export const later = (type: FieldType, usual?: unknown): Later => (usual === undefined ? { type } : { type, usual });
export const refused = (type: FieldType, why: string, usual?: unknown): Later => ({ ...later(type, usual), refused: why });
