"""Command lines: one module per program."""
