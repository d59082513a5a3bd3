// Counts its starts in the EEPROM.
#include <EEPROM.h>

void setup() {
  Serial.begin(115200);
  byte starts = EEPROM.read(10);
  if (starts == 0xFF) starts = 0;
  EEPROM.write(10, starts + 1);
  EEPROM.put(100, 3.25f);
  float f;
  EEPROM.get(100, f);
  Serial.print(starts + 1);
  Serial.print(" of ");
  Serial.print(EEPROM.length());
  Serial.print(" ");
  Serial.println(f);
}

void loop() {}
