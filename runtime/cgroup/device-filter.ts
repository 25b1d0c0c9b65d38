// Owns which devices the processes of a cgroup may use: rules, and the eBPF program that the kernel asks at every open and mknod.
// One mechanism on every host: the program is attached to the cgroup2 hierarchy, which hybrid hosts have too.
import { Buffer } from 'node:buffer';

export interface DeviceRule {
  readonly type: 'b' | 'c';
  /** Absent: any. */
  readonly major?: number;
  readonly minor?: number;
  /** Any of r, w, m. */
  readonly access: string;
}

const rwm = (major: number, minor?: number): DeviceRule => ({ type: 'c', major, ...(minor === undefined ? {} : { minor }), access: 'rwm' });

/** Nodes may be made (an image's layers are unpacked in some), but only the harmless ones and terminals be used. OCI runtime-spec, config-linux */
export const DEFAULT_DEVICE_RULES: readonly DeviceRule[] = [
  { type: 'c', access: 'm' },
  { type: 'b', access: 'm' },
  rwm(1, 3),
  rwm(1, 5),
  rwm(1, 7),
  rwm(1, 8),
  rwm(1, 9),
  rwm(5, 0),
  rwm(5, 2),
  rwm(136),
];

// linux/bpf.h: struct bpf_cgroup_dev_ctx { __u32 access_type; /* (access << 16) | type */ __u32 major; __u32 minor; }
const ACCESS: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };
const TYPE = { b: 1, c: 2 } as const;

// struct bpf_insn { __u8 code; __u8 dst_reg:4, src_reg:4; __s16 off; __s32 imm; }
function instruction(code: number, dst: number, src: number, offset: number, immediate: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes[0] = code;
  bytes[1] = dst | (src << 4);
  bytes.writeInt16LE(offset, 2);
  bytes.writeInt32LE(immediate, 4);
  return bytes;
}

const LOAD_U32 = 0x61;
const AND = 0x54;
const SHIFT_RIGHT = 0x74;
const MOVE = 0xb4;
const MOVE_REGISTER = 0xbc;
const JUMP_NOT_EQUAL = 0x56;
const EXIT = 0x95;
const [R_RESULT, R_CONTEXT, R_TYPE, R_ACCESS, R_MAJOR, R_MINOR, R_SCRATCH] = [0, 1, 2, 3, 4, 5, 6];

/** The program: r0 = 1 for an access that some rule allows whole, 0 (EPERM) for all else. Instructions of 8 bytes. */
export function compileDeviceFilter(rules: readonly DeviceRule[]): Buffer {
  const code = [
    instruction(LOAD_U32, R_TYPE, R_CONTEXT, 0, 0),
    instruction(AND, R_TYPE, 0, 0, 0xffff),
    instruction(LOAD_U32, R_ACCESS, R_CONTEXT, 0, 0),
    instruction(SHIFT_RIGHT, R_ACCESS, 0, 0, 16),
    instruction(LOAD_U32, R_MAJOR, R_CONTEXT, 4, 0),
    instruction(LOAD_U32, R_MINOR, R_CONTEXT, 8, 0),
    ...rules.flatMap(compileRule),
    instruction(MOVE, R_RESULT, 0, 0, 0),
    instruction(EXIT, 0, 0, 0, 0),
  ];
  return Buffer.concat(code);
}

function compileRule({ type, major, minor, access }: DeviceRule): Buffer[] {
  const allowed = [...access].reduce((bits, letter) => bits | (ACCESS[letter] ?? 0), 0);
  const conditions = [(skip: number) => instruction(JUMP_NOT_EQUAL, R_TYPE, 0, skip, TYPE[type])];
  if (major !== undefined) conditions.push((skip) => instruction(JUMP_NOT_EQUAL, R_MAJOR, 0, skip, major));
  if (minor !== undefined) conditions.push((skip) => instruction(JUMP_NOT_EQUAL, R_MINOR, 0, skip, minor));
  const allow = [instruction(MOVE, R_RESULT, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)];
  // What is asked beyond the rule's access must be nothing.
  const beyond = [instruction(MOVE_REGISTER, R_SCRATCH, R_ACCESS, 0, 0), instruction(AND, R_SCRATCH, 0, 0, ~allowed & 7)];
  const tail = [...beyond, instruction(JUMP_NOT_EQUAL, R_SCRATCH, 0, allow.length, 0), ...allow];
  return [...conditions.map((condition, i) => condition(conditions.length - 1 - i + tail.length)), ...tail];
}
