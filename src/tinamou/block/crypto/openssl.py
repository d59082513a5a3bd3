"""AES and CAST5 sector by sector: the system's OpenSSL called directly (three times as fast for 512-byte pieces), else the
package `cryptography`.

OpenSSL is used through its EVP interface (EVP_EncryptInit(3)). The calls hold the interpreter lock: one sector takes less time than
giving the lock to another thread. What is slow is a call from Python (0.4 us, as much as AES takes for 3 KiB), so a sector costs one
call: its vector is stored where the library keeps it (EVP_CIPHER_CTX_iv_noconst(3)), not passed to EVP_CipherInit_ex.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from array import array
from typing import Any

from ..errors import BlockError
from . import SECTOR, ciphers, wipe
from .ciphers import Data

LIBRARIES = ("libcrypto.so.3", "libcrypto.so.1.1")


@functools.cache
def libcrypto() -> Any:
    """The system's library with the prototypes set, or None."""
    for name in LIBRARIES:
        try:
            lib = ctypes.PyDLL(name)
            pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
            lib.EVP_get_cipherbyname.restype, lib.EVP_get_cipherbyname.argtypes = pointer, [text]
            lib.EVP_CIPHER_CTX_new.restype, lib.EVP_CIPHER_CTX_new.argtypes = pointer, []
            lib.EVP_CIPHER_CTX_free.restype, lib.EVP_CIPHER_CTX_free.argtypes = None, [pointer]
            lib.EVP_CIPHER_CTX_set_padding.argtypes = [pointer, integer]
            lib.EVP_CipherInit_ex.argtypes = [pointer, pointer, pointer, text, text, integer]
            lib.EVP_CipherUpdate.argtypes = [pointer, pointer, pointer, pointer, integer]
            lib.EVP_Cipher.argtypes = [pointer, pointer, pointer, integer]
        except (OSError, AttributeError):
            continue
        return lib
    return None


class Context:
    """One direction of a cipher in OpenSSL; not for several threads at once. The key in it is wiped when it goes."""

    def __init__(self, lib: Any, kind: int, key: bytes, encrypt: bool) -> None:
        self.lib = lib
        self.free = lib.EVP_CIPHER_CTX_free
        self.handle = ctypes.c_void_p(lib.EVP_CIPHER_CTX_new())
        if lib.EVP_CipherInit_ex(self.handle, kind, None, key, None, int(encrypt)) != 1:
            raise BlockError("OpenSSL refuses the key")
        lib.EVP_CIPHER_CTX_set_padding(self.handle, 0)

    def __del__(self) -> None:
        self.free(self.handle)

    @functools.cached_property
    def window(self) -> memoryview | None:
        """The context's vector in memory, two 64-bit words; None when this library has it elsewhere, which a trial shows."""
        try:
            find = self.lib.EVP_CIPHER_CTX_iv_noconst
        except AttributeError:
            return None
        find.restype, find.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        address = find(self.handle)
        if not address:
            return None
        window = memoryview((ctypes.c_uint64 * 2).from_address(address)).cast("B").cast("Q")
        vectors, data = bytes(range(48)), bytes(i & 0xFF for i in range(3 * SECTOR))
        expected, found = bytearray(data), bytearray(data)
        self._run_by_calls(vectors, 16, (ctypes.c_char * len(data)).from_buffer(expected))
        self._run_in_window(window, vectors, (ctypes.c_char * len(data)).from_buffer(found))
        return window if expected == found else None

    def run(self, vectors: bytes, pinned: ctypes.Array[ctypes.c_char]) -> None:
        """Encrypt or decrypt sectors in place, each with its vector (none in mode ecb)."""
        step = len(vectors) * SECTOR // len(pinned) if len(pinned) else 0
        if step == 16 and self.window is not None:
            self._run_in_window(self.window, vectors, pinned)
        else:
            self._run_by_calls(vectors, step, pinned)

    def _run_in_window(self, window: memoryview, vectors: bytes, pinned: ctypes.Array[ctypes.c_char]) -> None:
        cipher, handle = self.lib.EVP_Cipher, self.handle
        address = ctypes.addressof(pinned)
        words = array("Q", vectors)
        good = True
        for low, high in zip(words[0::2], words[1::2], strict=True):
            window[0] = low
            window[1] = high
            if cipher(handle, address, address, SECTOR) <= 0:
                good = False
            address += SECTOR
        if not good:
            raise OSError(5, "OpenSSL cannot encrypt or decrypt")

    def _run_by_calls(self, vectors: bytes, step: int, pinned: ctypes.Array[ctypes.c_char]) -> None:
        init, update, handle = self.lib.EVP_CipherInit_ex, self.lib.EVP_CipherUpdate, self.handle
        start, done = ctypes.addressof(pinned), ctypes.c_int()
        address = ctypes.addressof(done)
        good = True
        for i in range(0, len(pinned), SECTOR):
            at = i // SECTOR * step
            good = good and init(handle, None, None, None, vectors[at : at + step], -1) == 1
            good = good and update(handle, start + i, address, start + i, SECTOR) == 1 and done.value == SECTOR
        if not good:
            raise OSError(5, "OpenSSL cannot encrypt or decrypt")


class OpensslCipher:
    """AES block by block through libcrypto."""

    block_size = 16

    def __init__(self, lib: Any, key: Data) -> None:
        self.lib = lib
        self.kind = lib.EVP_get_cipherbyname(f"AES-{8 * len(key)}-ECB".encode())
        self.key = bytes(memoryview(key))  # a copy, to be wiped

    def __del__(self) -> None:
        wipe(self.key)

    def _run(self, data: Data, encrypt: bool) -> bytes:
        out = bytearray(data)
        pinned = (ctypes.c_char * len(out)).from_buffer(out)
        address = ctypes.addressof(pinned)
        done = ctypes.c_int()
        context = Context(self.lib, self.kind, self.key, encrypt)
        if self.lib.EVP_CipherUpdate(context.handle, address, ctypes.addressof(done), address, len(out)) != 1 or done.value != len(out):
            raise OSError(5, "OpenSSL cannot encrypt or decrypt")
        del pinned
        return bytes(out)

    def encrypt(self, data: Data) -> bytes:
        return self._run(data, True)

    def decrypt(self, data: Data) -> bytes:
        return self._run(data, False)


class OpensslSectors:
    """Sectors through libcrypto; each thread has contexts of its own."""

    def __init__(self, lib: Any, kind: int, mode: str, key: Data) -> None:
        self.lib, self.kind, self.mode = lib, kind, mode
        self.key = bytes(memoryview(key))  # a copy, to be wiped
        self.local = threading.local()
        self._context(True)

    def __del__(self) -> None:
        wipe(self.key)

    def _context(self, encrypt: bool) -> Context:
        name = "encryptor" if encrypt else "decryptor"
        found: Context | None = getattr(self.local, name, None)
        if found is None:
            found = Context(self.lib, self.kind, self.key, encrypt)
            setattr(self.local, name, found)
        return found

    def _run(self, vectors: bytes, buffer: bytearray | memoryview, encrypt: bool) -> None:
        self._context(encrypt).run(vectors, (ctypes.c_char * len(buffer)).from_buffer(buffer))

    def encrypt(self, vectors: bytes, data: Data) -> bytearray:
        out = bytearray(data)
        self._run(vectors, out, True)
        return out

    def decrypt(self, vectors: bytes, data: Data) -> bytearray:
        out = bytearray(data)
        self._run(vectors, out, False)
        return out

    def decrypt_in_place(self, vectors: bytes, view: memoryview) -> None:
        self._run(vectors, view, False)


class LibrarySectors:
    """Sectors through the package `cryptography`."""

    def __init__(self, cipher: str, mode: str, key: Data) -> None:
        self.ciphers = ciphers.library()
        self.algorithm = ciphers.algorithm(cipher, key)
        self.mode = {m: getattr(self.ciphers.modes, m.upper()) for m in ("xts", "cbc", "ctr", "ecb")}[mode]
        self.with_vector = mode != "ecb"

    def _run(self, vectors: bytes, data: Data, encrypt: bool) -> bytes:
        view = memoryview(data)
        if not view:
            return b""
        step = len(vectors) * SECTOR // len(view)
        out = []
        for i in range(0, len(view), SECTOR):
            at = i // SECTOR * step
            mode = self.mode(vectors[at : at + step]) if self.with_vector else self.mode()
            cipher = self.ciphers.Cipher(self.algorithm, mode)
            out.append((cipher.encryptor() if encrypt else cipher.decryptor()).update(view[i : i + SECTOR]))
        return b"".join(out)

    def encrypt(self, vectors: bytes, data: Data) -> bytes:
        return self._run(vectors, data, True)

    def decrypt(self, vectors: bytes, data: Data) -> bytes:
        return self._run(vectors, data, False)

    def decrypt_in_place(self, vectors: bytes, view: memoryview) -> None:
        view[:] = self._run(vectors, view, False)


def sectors(cipher: str, mode: str, key: Data) -> OpensslSectors | LibrarySectors | None:
    """The faster of the two that this machine has; None for AES-192 in mode xts, which neither has."""
    if mode == "xts" and len(key) == 48:
        return None
    lib = libcrypto()
    if lib is not None and cipher == "aes":
        bits = len(key) * (4 if mode == "xts" else 8)
        kind = lib.EVP_get_cipherbyname(f"AES-{bits}-{mode.upper()}".encode())
        if kind:
            return OpensslSectors(lib, kind, mode, key)
    return LibrarySectors(cipher, mode, key)
