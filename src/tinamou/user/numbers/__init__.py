"""System call numbers, one generated module per ABI and one for what they share (tests/support/kernel_numbers.py)."""
