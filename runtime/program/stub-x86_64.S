# The interpreter of syscall programs for x86_64. builder.ts describes header and op; this file must agree with it.
#
# It is entered twice from the same bytes: `_start` as the only code of a static image (r15 = 0: a failure is reported and ends the
# process), and `run(header)` as a C function inside the daemon (r15 = 1: a failure returns -errno). The loop never touches the stack,
# so that a CLONE_VM child can run it on its parent's stack without harm.
#
#   r12 header   r13 first op   r14 current op   ebx flags of the op   r15d 1 when called as a function
        .intel_syntax noprefix
        .text
        .globl  _start, run, prog

_start: lea     r12, [rip + prog]       # elf.ts patches the displacement to the program's own segment
        mov     [r12 + 24], rsp
        xor     r15d, r15d
        jmp     begin

        .balign 8
run:    push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        mov     r12, rdi
        mov     r15d, 1

begin:  mov     r13, [r12 + 16]
        mov     r14, r13

next:   mov     eax, [r14]
        mov     ebx, [r14 + 4]
        mov     rdi, [r14 + 8]
        mov     rsi, [r14 + 16]
        mov     rdx, [r14 + 24]
        mov     r10, [r14 + 32]
        mov     r8,  [r14 + 40]
        mov     r9,  [r14 + 48]
        # Flags 0..5: that argument is the address of its value.
        test    bl, 63
        jz      3f
        test    bl, 1
        jz      1f
        mov     rdi, [rdi]
1:      test    bl, 2
        jz      1f
        mov     rsi, [rsi]
1:      test    bl, 4
        jz      1f
        mov     rdx, [rdx]
1:      test    bl, 8
        jz      1f
        mov     r10, [r10]
1:      test    bl, 16
        jz      1f
        mov     r8, [r8]
1:      test    bl, 32
        jz      3f
        mov     r9, [r9]
3:      test    ah, 0x10                # numbers from 0x1000 on are no system calls
        jnz     pseudo
        syscall

result: mov     rcx, [r14 + 56]
        test    rcx, rcx
        jz      2f
        test    bl, bl                  # flag 7: store 32 bits
        js      1f
        mov     [rcx], rax
        jmp     2f
1:      mov     [rcx], eax
2:      cmp     rax, -4095
        jae     error
        mov     ecx, [r14 + 68]
        test    rax, rax
        jnz     branch
        mov     ecx, [r14 + 64]
branch: cmp     ecx, 1
        ja      go
        add     r14, 80
        jmp     next
go:     lea     r14, [r13 + rcx]
        jmp     next

error:  test    bh, 1                   # flag 8: repeat after EINTR
        jz      1f
        cmp     eax, -4
        je      next
1:      mov     ecx, [r14 + 72]
        test    ecx, ecx
        jnz     branch
        # Nobody handles it: complete the failure record with op offset and errno.
        neg     eax
        mov     [r12 + 44], eax
        mov     rcx, r14
        sub     rcx, r13
        mov     [r12 + 40], ecx
        test    r15d, r15d
        jnz     failed
        mov     edi, [r12 + 8]
        lea     rsi, [r12 + 32]
        mov     edx, 32
        mov     eax, 1                  # write
        syscall
        mov     edi, [r12 + 12]
        mov     eax, 231                # exit_group
        syscall
failed: neg     eax
        cdqe
        jmp     leave

pseudo: cmp     al, 1                   # 0x1000 subtract, 0x1001 return, 0x1002 child
        ja      child
        mov     rax, rdi
        je      leave
        sub     rax, rsi
        jmp     result
child:  xor     r15d, r15d              # a process of its own from here: failures are reported and fatal
        xor     eax, eax
        jmp     result

leave:  pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        ret

        .balign 16
prog:
