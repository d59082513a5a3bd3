"""The I2C bus and parts on it."""
