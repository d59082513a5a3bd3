// PWM on D9 (timer 1, phase correct) and D6 or its like (timer 0, fast).
void setup() {
  pinMode(9, OUTPUT);
  for (int level = 0; level <= 255; level += 51) {
    analogWrite(9, level);
    analogWrite(6, 255 - level);
    delay(10);
  }
}

void loop() {}
