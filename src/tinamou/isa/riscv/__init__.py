"""RISC-V, RV32 and RV64 from one description."""
