// One hundred short pieces of work: KIND chooses ten of them. Each prints its result and the cycles it took, by timer 1.
#include <avr/io.h>
#include <avr/interrupt.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void put(char c) {
  while (!(UCSR0A & (1 << UDRE0))) ;
  UDR0 = c;
}

static void number(uint32_t n) {
  char text[11];
  ultoa(n, text, 10);
  for (char *p = text; *p; p++) put(*p);
}

static const uint16_t table[16] PROGMEM = {1, 9, 25, 49, 81, 121, 169, 225, 289, 361, 441, 529, 625, 729, 841, 961};
volatile uint8_t memory[64];

static uint16_t crc(const volatile uint8_t *p, uint8_t n) {
  uint16_t c = 0xFFFF;
  while (n--) {
    c ^= *p++;
    for (uint8_t k = 8; k; k--) c = c & 1 ? c >> 1 ^ 0xA001 : c >> 1;
  }
  return c;
}

static uint16_t fibonacci(uint8_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static int compare(const void *a, const void *b) { return *(const uint8_t *)a - *(const uint8_t *)b; }

__attribute__((noinline)) static uint32_t work(uint8_t n) {
  uint32_t x = 0x12345u + 977u * n;
  switch (KIND) {
    case 0: for (uint8_t k = 0; k <= n; k++) x = x * 1664525u + 1013904223u; return x;
    case 1: for (uint8_t k = 1; k <= n + 1; k++) x += (x * 7) / k + x % (k + 3); return x;
    case 2: { float f = n + 0.5f; for (uint8_t k = 0; k < n; k++) f = f * 1.25f - 3.0f / (k + 1); return (uint32_t)(int32_t)(f * 1000); }
    case 3: for (uint8_t k = 0; k < 60; k++) memory[k] = k * n; return crc(memory, 6 * n);
    case 4: return fibonacci(n);
    case 5: { uint32_t s = 0; for (uint8_t k = 0; k < 10 + n; k++) s += pgm_read_word(&table[k & 15]) << (k & 3); return s; }
    case 6: { uint8_t a[20]; for (uint8_t k = 0; k < 20; k++) a[k] = k * 37 + n * 11; qsort(a, n + 2, 1, compare); return a[n / 2] | a[n] << 8; }
    case 7: { char s[40]; strcpy(s, "the quick brown fox"); for (uint8_t k = 0; k < n; k++) { char *p = strchr(s, ' '); if (p) *p = '_'; s[k] ^= 32; }
              uint32_t h = 0; for (char *p = s; *p; p++) h = h * 31 + *p; return h + strlen(s); }
    case 8: { uint64_t y = x; for (uint8_t k = 0; k < n; k++) y = (y << 7) ^ (y >> 3) ^ (y * 5); return y ^ y >> 32; }
    default: for (uint8_t k = 0; k < n * 3; k++) { GPIOR0 = x; x += GPIOR0 ^ PINB; if (x & 4) PORTB ^= 2; else memory[k & 63]++; } return x;
  }
}

ISR(TIMER0_OVF_vect) { memory[63]++; }

int main(void) {
  UBRR0 = 0;
  UCSR0A = 1 << U2X0;
  UCSR0B = 1 << TXEN0;
  TCCR1B = 1 << CS10;
  for (uint8_t n = 0; n < 10; n++) {
    TCNT1 = 0;
    uint32_t result = work(n);
    uint16_t cycles = TCNT1;
    number(result);
    put(' ');
    number(cycles);
    put('\n');
  }
  cli();
  sleep_enable();
  sleep_cpu();
  for (;;) ;
}
