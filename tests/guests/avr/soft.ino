// A serial port in software on D10 and D11: says hello and repeats what comes.
#include <SoftwareSerial.h>

SoftwareSerial port(10, 11);

void setup() {
  port.begin(9600);
  port.println("soft");
}

void loop() {
  if (port.available()) port.write(port.read() + 1);
}
