// An HD44780 on D2 to D7 (RS, E, D4 to D7), a WS2812 strip on D8, a seven-segment digit on A0 to A5 and D9, all ATmega328P.
#include <avr/io.h>
#include <util/delay.h>

static void nibble(unsigned char n) {
  PORTD = (PORTD & 0x0F) | n << 4;
  PORTD |= 1 << 3;
  _delay_us(1);
  PORTD &= ~(1 << 3);
  _delay_us(1);
}

static void lcd(unsigned char byte, unsigned char rs) {
  if (rs) PORTD |= 1 << 2;
  else PORTD &= ~(1 << 2);
  nibble(byte >> 4);
  nibble(byte & 15);
  if (byte < 4 && !rs) _delay_ms(2);
  else _delay_us(40);
}

static void text(const char *s) {
  while (*s) lcd(*s++, 1);
}

static void ws(unsigned char byte) {
  for (unsigned char n = 8; n; n--, byte <<= 1) {
    if (byte & 0x80) {
      PORTB |= 1;
      __builtin_avr_delay_cycles(9);
      PORTB &= ~1;
      __builtin_avr_delay_cycles(3);
    } else {
      PORTB |= 1;
      __builtin_avr_delay_cycles(3);
      PORTB &= ~1;
      __builtin_avr_delay_cycles(9);
    }
  }
}

int main(void) {
  DDRD = 0xFC;
  DDRB = 0x03;
  DDRC = 0x3F;
  _delay_ms(20);
  nibble(3);
  _delay_ms(5);
  nibble(3);
  _delay_us(150);
  nibble(3);
  _delay_us(40);
  nibble(2);
  _delay_us(40);
  lcd(0x28, 0);
  lcd(0x0C, 0);
  lcd(0x06, 0);
  lcd(0x01, 0);
  text("Hello");
  lcd(0xC0, 0);
  text("second line");
  static const unsigned char colours[] = {0, 255, 0, 16, 32, 48, 1, 2, 3};
  for (unsigned char n = 0; n < sizeof colours; n++) ws(colours[n]);
  _delay_us(60);
  PORTC = 0x1F;      // segments a to e, and g on D9
  PORTB |= 2;
  for (;;);
}
