"""System call numbers, one generated module per ABI (tests/support/kernel_numbers.py)."""
