/* Spike's host-target interface: a line on the console, then exit with status 5. tohost and fromhost are wherever the linker puts them. */
#include <stdint.h>

__attribute__((aligned(64))) volatile uint64_t tohost;
__attribute__((aligned(64))) volatile uint64_t fromhost;

static void send(uint64_t command)
{
    while (tohost) {}
#if __riscv_xlen == 64
    tohost = command;
#else /* the upper half makes it complete */
    ((volatile uint32_t *)&tohost)[0] = command;
    ((volatile uint32_t *)&tohost)[1] = command >> 32;
#endif
}

static void begin(void)
{
    for (const char *text = "through htif\n"; *text; text++)
        send((uint64_t)0x0101 << 48 | (uint8_t)*text);
    send(5 << 1 | 1);
    for (;;) {}
}

__attribute__((naked, section(".init"))) void _start(void)
{
    __asm__ volatile("li t0, 1; slli t0, t0, 31; li t1, 0x8000; add sp, t0, t1; tail %0" ::"i"(begin));
}
