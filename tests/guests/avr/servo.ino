// Pulses about every 20 ms for a servo on D9, in software; goes from 0 to 180 degrees.
void setup() { pinMode(9, OUTPUT); }

void angle(int degrees) {
  volatile unsigned width = 544 + (unsigned long)degrees * (2400 - 544) / 180;
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
