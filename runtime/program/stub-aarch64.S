// The interpreter of syscall programs for aarch64: the same design, header and op as stub-x86_64.S, which has the comments.
//
//   x19 header   x20 first op   x21 current op   w9 flags of the op   w22 1 when called as a function
        .text
        .globl  _start, run, prog

_start: adr     x19, prog               // elf.ts patches the displacement to the program's own segment
        mov     x9, sp
        str     x9, [x19, 24]
        mov     w22, 0
        b       begin

        .balign 8
run:    stp     x29, x30, [sp, -48]!
        stp     x19, x20, [sp, 16]
        stp     x21, x22, [sp, 32]
        mov     x19, x0
        mov     w22, 1

begin:  ldr     x20, [x19, 16]
        mov     x21, x20

next:   ldp     w8, w9, [x21]
        ldp     x0, x1, [x21, 8]
        ldp     x2, x3, [x21, 24]
        ldp     x4, x5, [x21, 40]
        tbz     w9, 0, 1f
        ldr     x0, [x0]
1:      tbz     w9, 1, 1f
        ldr     x1, [x1]
1:      tbz     w9, 2, 1f
        ldr     x2, [x2]
1:      tbz     w9, 3, 1f
        ldr     x3, [x3]
1:      tbz     w9, 4, 1f
        ldr     x4, [x4]
1:      tbz     w9, 5, 1f
        ldr     x5, [x5]
1:      tbnz    w8, 12, pseudo          // numbers from 0x1000 on are no system calls
        svc     0

result: ldr     x10, [x21, 56]
        cbz     x10, 2f
        ldr     w9, [x21, 4]
        tbnz    w9, 7, 1f               // store 32 bits
        str     x0, [x10]
        b       2f
1:      str     w0, [x10]
2:      cmn     x0, 4095                // -4095 … -1
        b.hs    error
        ldp     w10, w11, [x21, 64]
        cmp     x0, 0
        csel    w10, w10, w11, eq
branch: cmp     w10, 1
        b.hi    go
        add     x21, x21, 80
        b       next
go:     add     x21, x20, w10, uxtw
        b       next

error:  ldr     w9, [x21, 4]
        tbz     w9, 8, 1f               // repeat after EINTR
        cmn     x0, 4
        b.eq    next
1:      ldr     w10, [x21, 72]
        cbnz    w10, branch
        neg     w11, w0
        sub     x10, x21, x20
        stp     w10, w11, [x19, 40]
        cbnz    w22, leave
        ldr     w0, [x19, 8]
        add     x1, x19, 32
        mov     x2, 32
        mov     w8, 64                  // write
        svc     0
        ldr     w0, [x19, 12]
        mov     w8, 94                  // exit_group
        svc     0

pseudo: tbnz    w8, 1, child            // 0x1000 subtract, 0x1001 return, 0x1002 child
        tbnz    w8, 0, leave
        sub     x0, x0, x1
        b       result
child:  mov     w22, 0
        mov     x0, 0
        b       result

leave:  ldp     x19, x20, [sp, 16]
        ldp     x21, x22, [sp, 32]
        ldp     x29, x30, [sp], 48
        ret

        .balign 16
prog:
