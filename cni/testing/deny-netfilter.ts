// Makes this process see a kernel without nf_tables: socket(AF_NETLINK, …, NETLINK_NETFILTER) fails as it does there.
import { mapAnonymous } from '../../runtime/linux/memory.ts';
import { syscallNumber } from '../../runtime/linux/numbers.ts';
import { syscall } from '../../runtime/linux/syscall.ts';

const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_RET_ALLOW = 0x7fff0000;
const SECCOMP_RET_ERRNO = 0x00050000;
const EPROTONOSUPPORT = 93;
const BPF_LD_W_ABS = 0x20;
const BPF_JEQ = 0x15;
const BPF_RET = 0x06;
const AF_NETLINK = 16;
const NETLINK_NETFILTER = 12;

export function denyNetfilter(): void {
  // struct seccomp_data { s32 nr; u32 arch; u64 instruction_pointer; u64 args[6]; }
  const program = [
    [BPF_LD_W_ABS, 0, 0, 0],
    [BPF_JEQ, 0, 5, syscallNumber('socket')],
    [BPF_LD_W_ABS, 0, 0, 16],
    [BPF_JEQ, 0, 3, AF_NETLINK],
    [BPF_LD_W_ABS, 0, 0, 32],
    [BPF_JEQ, 0, 1, NETLINK_NETFILTER],
    [BPF_RET, 0, 0, SECCOMP_RET_ERRNO | EPROTONOSUPPORT],
    [BPF_RET, 0, 0, SECCOMP_RET_ALLOW],
  ] as const;
  const memory = mapAnonymous(4096);
  for (const [i, [code, ifTrue, ifFalse, operand]] of program.entries()) {
    const at = 64 + 8 * i;
    memory.buffer.writeUInt16LE(code, at);
    memory.buffer[at + 2] = ifTrue;
    memory.buffer[at + 3] = ifFalse;
    memory.buffer.writeUInt32LE(operand, at + 4);
  }
  // struct sock_fprog { u16 len; struct sock_filter *filter; }
  memory.buffer.writeUInt16LE(program.length, 0);
  memory.buffer.writeBigUInt64LE(BigInt(memory.address + 64), 8);
  syscall('prctl', PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  syscall('seccomp', SECCOMP_SET_MODE_FILTER, 0, memory.address);
}
