/* The end of every program: its result on the serial port, then a sleep without interrupts, which ends simavr. */
static void put(uint8_t c)
{
    while (!(UCSR0A & 1 << UDRE0))
        ;
    UDR0 = c;
}

static void __attribute__((noreturn)) end(uint16_t result)
{
    UBRR0 = 0;
    UCSR0B = 1 << TXEN0;
    for (int8_t k = 12; k >= 0; k -= 4)
        put("0123456789abcdef"[result >> k & 15]);
    put('\n');
    for (uint16_t k = 0; k < 1000; k++)
        __asm__ volatile("nop");
    __asm__ volatile("cli");
    SMCR = 1 << SE;
    for (;;)
        __asm__ volatile("sleep");
}
