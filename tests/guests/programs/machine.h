#pragma once
/* What programs need to know of the architecture: the program counter of a signal's context, and code to write. */
#if defined(__riscv)
#define PC(context) ((context)->uc_mcontext.__gregs[0])
#define BREAK "ebreak"
#define RESULT(n) (0x513 | (n) << 20) /* li a0, n */
#define RETURN 0x8067
#elif defined(__aarch64__)
#define PC(context) ((context)->uc_mcontext.pc)
#define BREAK "brk #0"
#define RESULT(n) (0x52800000 | (n) << 5) /* mov w0, #n */
#define RETURN 0xd65f03c0
#endif
