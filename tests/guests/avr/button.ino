// A button from D2 to ground; an interrupt counts, the LED follows.
volatile int presses = 0;

void pressed() { presses++; }

void setup() {
  Serial.begin(115200);
  pinMode(2, INPUT_PULLUP);
  pinMode(LED_BUILTIN, OUTPUT);
  attachInterrupt(digitalPinToInterrupt(2), pressed, FALLING);
}

void loop() {
  static int told = 0;
  digitalWrite(LED_BUILTIN, !digitalRead(2));
  if (presses != told) {
    told = presses;
    Serial.println(told);
  }
}
