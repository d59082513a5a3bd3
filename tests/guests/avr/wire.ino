// A temperature sensor at 0x48 and an EEPROM at 0x50 on the I2C bus.
#include <Wire.h>

void setup() {
  Serial.begin(115200);
  Wire.begin();
  for (byte address = 8; address < 120; address++) {
    Wire.beginTransmission(address);
    if (Wire.endTransmission() == 0) {
      Serial.print("found ");
      Serial.println(address, HEX);
    }
  }
  Wire.beginTransmission(0x50);
  Wire.write(0x01);
  Wire.write(0x20);
  Wire.write("hello");
  Wire.endTransmission();
  while (Wire.beginTransmission(0x50), Wire.endTransmission() != 0)
    ;
  Wire.beginTransmission(0x50);
  Wire.write(0x01);
  Wire.write(0x20);
  Wire.endTransmission(false);
  Wire.requestFrom(0x50, 5);
  while (Wire.available()) Serial.write(Wire.read());
  Serial.println();
}

void loop() {
  Wire.beginTransmission(0x48);
  Wire.write(0);
  Wire.endTransmission(false);
  Wire.requestFrom(0x48, 2);
  int high = Wire.read(), low = Wire.read();
  Serial.println((high << 8 | low) / 256.0);
  delay(10);
}
