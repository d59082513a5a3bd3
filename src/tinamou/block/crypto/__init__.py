"""Encryption of disks: ciphers, sector modes, LUKS headers and the secrets that unlock them.

`ciphers` and `sectors` encrypt, `serpent` and `twofish` are ciphers the `cryptography` package lacks, `luks` reads and writes
LUKS1 headers, `secrets` has the objects passphrases come from, `qcow2` is encryption inside qcow2 images. AES comes from the
system's OpenSSL or the package `cryptography` (`pip install 'tinamou[crypto]'`), loaded at the first use.
"""

from __future__ import annotations

SECTOR = 512
"""Bytes that are encrypted together: they share one initialisation vector."""


def wipe(*keys: bytes | bytearray | None) -> None:
    """Overwrite keys that are no longer needed. A `bytes` object must be one that nobody else refers to."""
    for key in keys:
        if isinstance(key, bytearray):
            key[:] = bytes(len(key))
        elif key is not None and len(key) > 1:
            import ctypes

            ctypes.memset(id(key) + bytes.__basicsize__ - 1, 0, len(key))


__all__ = ["SECTOR", "wipe"]
