"""Encryption of 512-byte sectors: modes (xts, cbc, ctr, ecb) over block ciphers, initialisation vectors from sector numbers.

Vectors (the names of dm-crypt): `plain` the number's lower 32 bits, little endian; `plain64` 64 bits; `essiv` the 64-bit number
encrypted with a hash of the key. XTS is IEEE 1619, CBC and CTR are NIST SP 800-38A.

AES goes through OpenSSL sector by sector (`openssl.OpensslSectors`). Other ciphers do all sectors of a request at once: the modes here
work on big integers and arrays.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from typing import Protocol

from ..errors import BlockError
from . import SECTOR, ciphers
from .ciphers import Cipher, Data

MODES = ("ecb", "cbc", "xts", "ctr")
IV_GENERATORS = ("plain", "plain64", "essiv")
HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160")
LANES = SECTOR // 16
BATCH = 2048
"""Sectors worked on together: 1 MiB."""


def xor(a: Data, b: Data) -> bytes:
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


def digest_size(name: str) -> int:
    """Bytes of a hash; raises `BlockError` when this Python has no such hash."""
    try:
        return hashlib.new(name, usedforsecurity=False).digest_size
    except ValueError:
        raise BlockError(f"Hash algorithm '{name}' is not supported by this Python's OpenSSL") from None


class Vectors:
    """Initialisation vectors of `size` bytes from sector numbers."""

    def __init__(self, kind: str, size: int, cipher: str, key: Data, hash_name: str | None) -> None:
        self.kind = kind
        self.size = size
        self.essiv: Cipher | None = None
        if kind == "essiv":
            salt = hashlib.new(hash_name or "sha256", bytes(key)).digest()
            if len(salt) not in ciphers.KEY_BYTES[cipher]:
                raise BlockError(f"No {cipher.upper()} cipher with key size {len(salt)} available")
            self.essiv = ciphers.make(cipher, salt)

    def make(self, sector: int, count: int) -> bytes:
        """The vectors of `count` sectors, one after the other."""
        limit = 1 << (32 if self.kind == "plain" else 64)
        words = self.size // 8
        numbers = array("Q", bytes(self.size * count))
        first = sector % limit
        before = min(count, limit - first)
        numbers[0 : before * words : words] = array("Q", range(first, first + before))
        numbers[before * words :: words] = array("Q", range(count - before))
        if sys.byteorder == "big":
            numbers.byteswap()
        out = numbers.tobytes()
        return self.essiv.encrypt(out) if self.essiv is not None else out


class Engine(Protocol):
    """A mode with a key: as many vectors as sectors of data."""

    def encrypt(self, vectors: bytes, data: Data) -> bytes | bytearray: ...

    def decrypt(self, vectors: bytes, data: Data) -> bytes | bytearray: ...

    def decrypt_in_place(self, vectors: bytes, view: memoryview) -> None: ...


class BulkSectors:
    """The modes over any cipher with blocks of 16 bytes, many sectors at a time."""

    def __init__(self, cipher: str, mode: str, key: Data) -> None:
        half = len(key) // 2 if mode == "xts" else len(key)
        self.cipher = ciphers.make(cipher, key[:half])
        self.tweaker = ciphers.make(cipher, key[half:]) if mode == "xts" else None
        self.mode = mode

    def encrypt(self, vectors: bytes, data: Data) -> bytes:
        if self.mode == "ecb":
            return self.cipher.encrypt(data)
        if self.mode == "cbc":
            return self._encrypt_cbc(vectors, data)
        mask = self._mask(vectors)
        return xor(mask, data) if self.mode == "ctr" else xor(mask, self.cipher.encrypt(xor(mask, data)))

    def decrypt(self, vectors: bytes, data: Data) -> bytes:
        if self.mode == "ecb":
            return self.cipher.decrypt(data)
        if self.mode == "cbc":
            previous = array("Q", vectors[:16] + bytes(data[:-16]))
            vector = array("Q", vectors)
            previous[0 :: 2 * LANES], previous[1 :: 2 * LANES] = vector[0::2], vector[1::2]
            return xor(self.cipher.decrypt(data), previous.tobytes())
        mask = self._mask(vectors)
        return xor(mask, data) if self.mode == "ctr" else xor(mask, self.cipher.decrypt(xor(mask, data)))

    def decrypt_in_place(self, vectors: bytes, view: memoryview) -> None:
        view[:] = self.decrypt(vectors, view)

    def _encrypt_cbc(self, vectors: bytes, data: Data) -> bytes:
        """Block by block, all sectors at once."""
        out = array("Q", bytes(data))
        last = vectors
        for lane in range(0, 2 * LANES, 2):
            block = array("Q", last)
            block[0::2], block[1::2] = out[lane :: 2 * LANES], out[lane + 1 :: 2 * LANES]
            last = self.cipher.encrypt(xor(block.tobytes(), last))
            done = array("Q", last)
            out[lane :: 2 * LANES], out[lane + 1 :: 2 * LANES] = done[0::2], done[1::2]
        return out.tobytes()

    def _mask(self, vectors: bytes) -> bytes:
        """What is added to the data: the tweaks of XTS, the key stream of CTR."""
        count = len(vectors) // 16
        if self.mode == "ctr":
            counters = []
            for i in range(0, len(vectors), 16):
                first = int.from_bytes(vectors[i : i + 16], "big")
                counters += [(first + j & (1 << 128) - 1).to_bytes(16, "big") for j in range(LANES)]
            return self.cipher.encrypt(b"".join(counters))
        assert self.tweaker is not None
        ones = int.from_bytes((b"\1" + bytes(15)) * count, "little")
        rest = ones * ((1 << 127) - 1)
        tweak = int.from_bytes(self.tweaker.encrypt(vectors), "little")
        out = array("Q", bytes(count * SECTOR))
        for lane in range(0, 2 * LANES, 2):
            words = array("Q", tweak.to_bytes(16 * count, "little"))
            out[lane :: 2 * LANES], out[lane + 1 :: 2 * LANES] = words[0::2], words[1::2]
            tweak = (tweak & rest) << 1 ^ (tweak >> 127 & ones) * 0x87
        return out.tobytes()


class SectorCipher:
    """What encrypts a disk: `encrypt(sector, data)` returns a new buffer, `decrypt(sector, view)` works in place; lengths are
    multiples of 512, `sector` is the number of the first one. May be used from several threads."""

    def __init__(self, cipher: str, mode: str, ivgen: str, key: Data, ivgen_hash: str | None = None) -> None:
        check_mode(cipher, mode, len(key))
        self.vectors = Vectors(ivgen, ciphers.BLOCK_BYTES.get(cipher, 16), cipher, key, ivgen_hash)
        engine: Engine | None = None
        if cipher in ("aes", "cast5"):
            from .openssl import sectors

            engine = sectors(cipher, mode, key)
        self.engine: Engine = engine or BulkSectors(cipher, mode, key)

    def encrypt(self, sector: int, data: Data) -> bytes | bytearray:
        view = memoryview(data)
        if len(view) <= BATCH * SECTOR:
            return self.engine.encrypt(self.vectors.make(sector, len(view) // SECTOR), view)
        out = bytearray(len(view))
        for at in range(0, len(view), BATCH * SECTOR):
            part = view[at : at + BATCH * SECTOR]
            out[at : at + len(part)] = self.engine.encrypt(self.vectors.make(sector + at // SECTOR, len(part) // SECTOR), part)
        return out

    def decrypt(self, sector: int, view: memoryview) -> None:
        for at in range(0, len(view), BATCH * SECTOR):
            part = view[at : at + BATCH * SECTOR]
            self.engine.decrypt_in_place(self.vectors.make(sector + at // SECTOR, len(part) // SECTOR), part)


def check_mode(cipher: str, mode: str, key_bytes: int) -> None:
    """Raises `BlockError` for a key size the cipher has not, or a mode it cannot be used in."""
    if mode not in MODES:
        raise BlockError(f"Cipher mode '{mode}' not supported")
    if mode == "xts" and key_bytes % 2:
        raise BlockError("XTS cipher key length should be a multiple of 2")
    size = key_bytes // 2 if mode == "xts" else key_bytes
    if size not in ciphers.KEY_BYTES.get(cipher, ()):
        raise BlockError(f"Algorithm '{cipher}' with key size {size} bytes not supported")
    if mode == "xts" and cipher in ciphers.BLOCK_BYTES:
        raise BlockError(f"Unsupported cipher mode {mode}")
