"""Parts that are connected to the pins of a board."""
