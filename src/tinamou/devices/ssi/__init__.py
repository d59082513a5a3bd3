"""Serial peripheral interface: controllers, the bus, flash chips on it."""
