/* A sieve, a CRC and 32-bit arithmetic while timer 1 interrupts a thousand times a second. */
#include <avr/io.h>
#include <avr/interrupt.h>
#include <stdint.h>

volatile uint16_t ticks;
static uint8_t buffer[512];

ISR(TIMER1_COMPA_vect) { ticks++; }

static uint16_t crc(const uint8_t *p, uint16_t n)
{
    uint16_t c = 0xffff;
    while (n--) {
        c ^= *p++;
        for (uint8_t k = 0; k < 8; k++)
            c = c & 1 ? (c >> 1) ^ 0xA001 : c >> 1;
    }
    return c;
}

static uint16_t sieve(void)
{
    uint16_t count = 0;
    for (uint16_t i = 0; i < sizeof buffer; i++)
        buffer[i] = 1;
    for (uint16_t i = 2; i < sizeof buffer; i++)
        if (buffer[i]) {
            count++;
            for (uint16_t j = i + i; j < sizeof buffer; j += i)
                buffer[j] = 0;
        }
    return count;
}

#include "end.h"

int main(void)
{
    TCCR1B = 1 << WGM12 | 1 << CS11;
    OCR1A = 1999;
    TIMSK1 = 1 << OCIE1A;
    sei();
    uint16_t sum = 0;
    for (uint16_t round = 0; round < ROUNDS; round++) {
        sum += sieve();
        sum ^= crc(buffer, sizeof buffer);
        uint32_t x = sum;
        for (uint8_t i = 0; i < 50; i++)
            x = x * 1103515245u + 12345u;
        sum += x >> 16;
    }
    end(sum);
}
