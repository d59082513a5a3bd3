void setup() {
  tone(8, 440, 100);
}

void loop() {}
