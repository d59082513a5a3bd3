/* Blinks, and waits as the Arduino core does: by reading timer 0 and counting its overflows.  The original has no timer 0. */
#include <avr/io.h>
#include <avr/interrupt.h>
#include <stdint.h>
#include "end.h"

static volatile uint32_t overflows;

ISR(TIMER0_OVF_vect) { overflows++; }

static uint32_t micros(void)
{
    uint8_t old = SREG, t;
    cli();
    uint32_t m = overflows;
    t = TCNT0;
    if ((TIFR0 & 1 << TOV0) && t < 255)
        m++;
    SREG = old;
    return (m << 8 | t) * 4;
}

static void delay(uint32_t ms)
{
    uint32_t start = micros();
    while (ms > 0)
        while (ms > 0 && micros() - start >= 1000) {
            ms--;
            start += 1000;
        }
}

int main(void)
{
    TCCR0A = 3;
    TCCR0B = 3;
    TIMSK0 = 1;
    sei();
    DDRB |= 1 << 5;
    for (uint16_t round = 0; round < ROUNDS; round++) {
        PORTB ^= 1 << 5;
        delay(100);
    }
    end(overflows);
}
