// Three servos, whose pulses timer 1 ends by compare interrupts, one after the other, in frames of 20 ms: half a microsecond a tick.
const uint8_t pins[3] = {5, 6, 7};
volatile unsigned width[3];
volatile int8_t channel = -1;

ISR(TIMER1_COMPA_vect) {
  if (channel < 0)
    TCNT1 = 0;
  else
    digitalWrite(pins[channel], LOW);
  if (++channel < 3) {
    OCR1A = TCNT1 + width[channel];
    digitalWrite(pins[channel], HIGH);
  } else {
    channel = -1;
    OCR1A = 40000;
  }
}

void write(uint8_t servo, int degrees) {
  unsigned ticks = 2 * map(degrees, 0, 180, 544, 2400);
  uint8_t old = SREG;
  cli();
  width[servo] = ticks;
  SREG = old;
}

void setup() {
  for (uint8_t n = 0; n < 3; n++)
    pinMode(pins[n], OUTPUT);
  write(0, 0);
  write(1, 45);
  write(2, 180);
  TCCR1A = 0;
  TCCR1B = _BV(CS11);
  OCR1A = 100;
  TIMSK1 = _BV(OCIE1A);
}

void loop() {
  delay(100);
  write(0, 120);
}
