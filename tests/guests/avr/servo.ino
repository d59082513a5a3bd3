// Pulses of 20 ms period for a servo on D9, by timer 1 in mode 14; goes from 0 to 180 degrees.
void setup() {
  pinMode(9, OUTPUT);
#if defined(__AVR_ATmega2560__) || defined(__AVR_ATmega1280__)
  TCCR2A = 0;
#endif
}

void angle(int degrees) {
  unsigned width = 544 + (unsigned long)degrees * (2400 - 544) / 180;
  digitalWrite(9, HIGH);
  delayMicroseconds(width);
  digitalWrite(9, LOW);
  delay(18);
}

void loop() {
  for (int n = 0; n < 3; n++) angle(0);
  for (int n = 0; n < 3; n++) angle(90);
  for (int n = 0; n < 3; n++) angle(180);
}
