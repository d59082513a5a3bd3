"""Typed Python to machine code.

A subset of Python with fixed-width integers runs unmodified under CPython and compiles to the same behaviour in machine code.  This
package knows nothing of guests.  `types` and `ops` are what code in the subset imports; `docs/native.md` is the subset's manual.
"""
