// Serial port: says hello, then repeats each line with its number.
String line;
int number = 0;

void setup() {
  Serial.begin(115200);
  Serial.println("ready");
}

void loop() {
  while (Serial.available()) {
    char c = Serial.read();
    if (c == '\n') {
      Serial.print(++number);
      Serial.print(": ");
      Serial.println(line);
      line = "";
    } else {
      line += c;
    }
  }
}
