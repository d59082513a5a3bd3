"""Block ciphers by name and key size.

A cipher object has `block_size` and `encrypt(data)` / `decrypt(data)` over any number of blocks, each for itself. AES comes from
the system's OpenSSL or the package `cryptography`, CAST5 from that package; what it has not is in modules of this one.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import BlockError

Data = bytes | bytearray | memoryview

KEY_BYTES: dict[str, tuple[int, ...]] = {
    "aes": (16, 24, 32),
    "serpent": (16, 24, 32),
    "twofish": (16, 24, 32),
    "cast5": (16,),
}
"""Ciphers that LUKS headers can name, and their key sizes in bytes."""

NAMES = (
    *("aes-128", "aes-192", "aes-256", "des", "3des", "cast5-128"),
    *("serpent-128", "serpent-192", "serpent-256", "twofish-128", "twofish-192", "twofish-256"),
)
"""What users may ask for; those without an entry in `KEY_BYTES` are known and not supported."""

BLOCK_BYTES = {"cast5": 8}
"""Block sizes other than 16 bytes."""


class Cipher(Protocol):
    block_size: int

    def encrypt(self, data: Data) -> bytes: ...

    def decrypt(self, data: Data) -> bytes: ...


def library() -> Any:
    """`cryptography.hazmat.primitives.ciphers`; raises `BlockError` naming the package when it is not installed."""
    try:
        from cryptography.hazmat.primitives import ciphers
        from cryptography.hazmat.primitives.ciphers import algorithms, modes  # noqa: F401
    except ImportError:
        raise BlockError("Encryption needs the package cryptography: pip install 'tinamou[crypto]'") from None
    return ciphers


def algorithm(name: str, key: Data) -> Any:
    """The library's algorithm object; only for ciphers it has."""
    ciphers = library()
    if name == "aes":
        return ciphers.algorithms.AES(bytes(key))
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5
    except ImportError:  # before version 43
        from cryptography.hazmat.primitives.ciphers.algorithms import CAST5
    return CAST5(bytes(key))


class LibraryCipher:
    """A cipher of the package `cryptography`."""

    def __init__(self, name: str, key: Data) -> None:
        ciphers = library()
        self.cipher = ciphers.Cipher(algorithm(name, key), ciphers.modes.ECB())
        self.block_size = BLOCK_BYTES.get(name, 16)

    def encrypt(self, data: Data) -> bytes:
        out: bytes = self.cipher.encryptor().update(data)
        return out

    def decrypt(self, data: Data) -> bytes:
        out: bytes = self.cipher.decryptor().update(data)
        return out


def make(name: str, key: Data) -> Cipher:
    """The cipher `name` ("aes", "serpent", ...) with `key`, whose length must be in `KEY_BYTES`."""
    if name == "serpent":
        from .serpent import Serpent

        return Serpent(bytes(key))
    if name == "twofish":
        from .twofish import Twofish

        return Twofish(bytes(key))
    if name == "aes":
        from .openssl import OpensslCipher, libcrypto

        lib = libcrypto()
        if lib is not None:
            return OpensslCipher(lib, key)
    return LibraryCipher(name, key)


def decrypt_cbc(key: Data, vector: bytes, data: bytes) -> bytes:
    """AES-CBC of any number of blocks (NIST SP 800-38A, 6.2)."""
    plain = make("aes", key).decrypt(data)
    previous = vector + data[:-16]
    return (int.from_bytes(plain, "big") ^ int.from_bytes(previous, "big")).to_bytes(len(data), "big")
