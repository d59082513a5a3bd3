"""Serial ports and consoles."""
