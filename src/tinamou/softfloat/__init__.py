"""IEEE 754 arithmetic on bit patterns, exact to the last flag, for every architecture.

Written in the compiled subset (docs/native.md) and generic over a compile-time `Format` and `Behaviour`:

    result, flags = add(F64, ARM, a, b, control)

Numbers are words that hold the encoding, flags and control word are u32 (`behaviour`).  `format` says what bit patterns are, `nan` what
becomes of NaNs, `round` how every result is made; `arith`, `fma`, `rem`, `convert` and `compare` are the operations.
"""
