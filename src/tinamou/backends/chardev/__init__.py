"""Character devices: where the bytes of serial ports, consoles and monitors come from and go to."""
