// The identification of a serial flash whose chip select is D10, a page written and read back.
#include <SPI.h>

const int select = 10;

void begin_command(byte command) {
  digitalWrite(select, LOW);
  SPI.transfer(command);
}

void address(unsigned long at) {
  SPI.transfer(at >> 16);
  SPI.transfer(at >> 8);
  SPI.transfer(at);
}

void setup() {
  Serial.begin(115200);
  pinMode(select, OUTPUT);
  digitalWrite(select, HIGH);
  SPI.begin();
  SPI.beginTransaction(SPISettings(8000000, MSBFIRST, SPI_MODE0));
  begin_command(0x9F);
  for (int n = 0; n < 3; n++) {
    Serial.print(SPI.transfer(0), HEX);
    Serial.print(' ');
  }
  digitalWrite(select, HIGH);
  Serial.println();
  begin_command(0x06);
  digitalWrite(select, HIGH);
  begin_command(0x02);
  address(0x1234);
  for (const char *p = "flash"; *p; p++) SPI.transfer(*p);
  digitalWrite(select, HIGH);
  do {
    begin_command(0x05);
    byte status = SPI.transfer(0);
    digitalWrite(select, HIGH);
    if (!(status & 1)) break;
  } while (true);
  begin_command(0x03);
  address(0x1234);
  for (int n = 0; n < 5; n++) Serial.write(SPI.transfer(0));
  digitalWrite(select, HIGH);
  Serial.println();
}

void loop() {}
