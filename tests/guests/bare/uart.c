/* A bare-metal program: says who it is, computes, waits for the timer's interrupt, then answers each line with its capitals. */
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))

#ifdef OPENTITAN /* UART: CTRL STATUS RDATA WDATA; RV_TIMER: CTRL CFG0 VALUE COMPARE ENABLE STATE */
#define UART 0x40000000
#define TIMER 0x40100000
static void start(void) { REG(UART + 0x10) = 3; }
static void put(char c) { while (REG(UART + 0x14) & 1) {} REG(UART + 0x1C) = c; }
static int get(void) { while (REG(UART + 0x14) & 0x20) {} return REG(UART + 0x18); }
static void alarm(void)
{
    REG(TIMER + 0x110) = 0;
    REG(TIMER + 0x10C) = REG(TIMER + 0x104) + 1000;
    REG(TIMER + 0x114) = 1;
    REG(TIMER + 0x004) = 1;
}
static void silence(void) { REG(TIMER + 0x114) = 0; REG(TIMER + 0x118) = 1; }
#else /* HiFive1: UART TXDATA RXDATA TXCTRL RXCTRL; CLINT MTIMECMP MTIME */
#define UART 0x10013000
static void start(void) { REG(UART + 8) = 1; REG(UART + 12) = 1; }
static void put(char c) { while ((int32_t)REG(UART) < 0) {} REG(UART) = c; }
static int get(void) { int32_t c; while ((c = REG(UART + 4)) < 0) {} return c; }
static void alarm(void)
{
    REG(0x02004004) = 0;
    REG(0x02004000) = REG(0x0200BFF8) + 50;
}
static void silence(void) { REG(0x02004004) = -1; }
#endif

static volatile uint32_t ticks;
static uint32_t table[256]; /* .bss */
static const char who[] = WHO;
static char greeting[] = "hello from "; /* .data: copied from flash to RAM */

__attribute__((interrupt("machine"))) void trap(void)
{
    ticks++;
    silence();
}

__attribute__((naked, aligned(256))) void vectors(void) /* Ibex always jumps to the entry of the interrupt's number */
{
    __asm__ volatile(".option push; .option norvc; .rept 32; j trap; .endr; .option pop");
}

static void say(const char *text)
{
    while (*text)
        put(*text++);
}

static void hex(uint32_t value)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        put("0123456789abcdef"[value >> shift & 15]);
}

static uint32_t crc(const char *text) /* CRC-32 of IEEE 802.3 */
{
    uint32_t value = ~0u;
    while (*text)
        value = table[(value ^ *text++) & 255] ^ value >> 8;
    return ~value;
}

static int run(void)
{
    start();
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t value = n;
        for (int k = 0; k < 8; k++)
            value = value & 1 ? value >> 1 ^ 0xEDB88320 : value >> 1;
        table[n] = value;
    }
    greeting[0] = 'H';
    say(greeting);
    say(who);
    say("\ncrc ");
    hex(crc("123456789"));
    say(" div ");
    hex(1000000007u / (table[1] >> 28 | 1));
    __asm__ volatile("csrw mtvec, %0" ::"r"((uintptr_t)vectors | MTVEC));
    alarm();
    __asm__ volatile("csrs mie, %0; csrsi mstatus, 8" ::"r"(1 << 7));
    while (!ticks)
        __asm__ volatile("wfi");
    say(" ticks ");
    hex(ticks);
    say("\n");
    for (;;) {
        int c = get();
        put(c >= 'a' && c <= 'z' ? c - 32 : c);
    }
}

extern char data_source[], data_start[], data_end[], bss_end[];

void begin(void)
{
    char *from = data_source;
    for (char *to = data_start; to < data_end;)
        *to++ = *from++;
    for (char *to = data_end; to < bss_end;)
        *to++ = 0;
    run();
}

__attribute__((naked, section(".init"))) void _start(void)
{
    __asm__ volatile("la sp, stack_top\n j begin");
}
