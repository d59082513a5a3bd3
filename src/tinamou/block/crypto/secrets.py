"""Objects that hold passphrases and keys: `secret` (given on the command line or in a file) and `secret_keyring` (from the Linux
kernel's keyring, keyrings(7)).

Both may be base64 text, and may be encrypted with AES-256-CBC under another secret: `keyid=` names that one, `iv=` is the base64
initialisation vector; the last byte of the decrypted data says how many bytes of padding to remove (PKCS #7, RFC 5652, 6.3).
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import errno
import os
import re
import sys
from typing import Any

from .. import options as opt
from ..errors import BlockError
from ..objects import UserObject
from . import wipe

MAX_BYTES = 1 << 20
"""Largest secret accepted, in bytes."""

KEYCTL_READ = 11
KEYCTL_NUMBERS = {
    "x86_64": 250, "i386": 288, "i686": 288, "aarch64": 219, "riscv64": 219, "riscv32": 219, "loongarch64": 219,
    "armv7l": 311, "armv6l": 311, "ppc64le": 271, "ppc64": 271, "s390x": 280, "mips64": 5241, "sparc64": 283,
}  # fmt: skip
"""The system call `keyctl`, by `os.uname().machine`."""


class CommonProperties(UserObject.Properties):
    format = opt.choice("raw or base64", ("raw", "base64"), "raw")
    keyid = opt.text("ID of the secret that this one is encrypted with")
    iv = opt.text("Base64 initialisation vector of that encryption")


class SecretBase(UserObject):
    """A secret's bytes are in `data` from `complete` on, until `close` wipes them."""

    Properties = CommonProperties
    type_names = {"format": "QCryptoSecretFormat", "serial": "int32_t"}
    opts: Any

    def load(self) -> bytearray:
        """What the user handed over, before decoding."""
        raise NotImplementedError

    def complete(self) -> None:
        given = self.load()
        self.data = bytearray()
        try:
            if len(given) > MAX_BYTES:
                raise BlockError(f"The secret '{self.id}' is larger than {MAX_BYTES} bytes")
            if self.opts.keyid is not None:
                given = self._decrypt(given)
            self.data = decode_base64(given) if self.opts.format == "base64" and self.opts.keyid is None else bytearray(given)
        finally:
            wipe(given)

    def _decrypt(self, given: bytearray) -> bytearray:
        from .ciphers import decrypt_cbc

        key = bytearray(self.graph.secret(self.opts.keyid))
        try:
            if len(key) != 32:
                raise BlockError("Key should be 32 bytes in length")
            if self.opts.iv is None:
                raise BlockError("IV is required to decrypt secret")
            vector = decode_base64(bytearray(self.opts.iv.encode("utf-8", "surrogateescape")))
            if len(vector) != 16:
                raise BlockError(f"IV should be 16 bytes in length not {len(vector)}")
            data = bytes(decode_base64(given) if self.opts.format == "base64" else given)
            if len(data) % 16:
                raise BlockError(f"Length {len(data)} must be a multiple of block size 16")
            plain = decrypt_cbc(key, bytes(vector), data)
        finally:
            wipe(key)
        padding = plain[-1] if plain else 0
        if not plain or padding > 16:
            raise BlockError(f"Incorrect number of padding bytes ({padding}) found on decrypted data")
        out = bytearray(plain[: len(plain) - padding])
        wipe(plain)
        return out

    def close(self) -> None:
        wipe(getattr(self, "data", None))


class Secret(SecretBase, name="secret"):
    """`data=TEXT` or `file=PATH`."""

    class Properties(CommonProperties):
        data = opt.text("The secret itself")
        file = opt.text("The file that has the secret")

    def load(self) -> bytearray:
        data, name = self.opts.data, self.opts.file
        if name is None:
            if data is None:
                raise BlockError("Either 'file' or 'data' must be provided")
            return bytearray(data.encode("utf-8", "surrogateescape"))
        if data is not None:
            raise BlockError("'file' and 'data' are mutually exclusive")
        try:
            with open(name, "rb", buffering=0) as file:
                buffer = bytearray(MAX_BYTES + 1)
                length = 0
                while length < len(buffer) and (n := file.readinto(memoryview(buffer)[length:])):
                    length += n
                found = buffer[:length]
                wipe(buffer)
                return found
        except OSError as error:
            text = os.strerror(error.errno or 0)
            what = "Error reading file" if error.errno == errno.EISDIR else "Failed to open file"
            raise BlockError(f"Unable to read {name}: {what} “{name}”: {text}") from None
        except ValueError:
            raise BlockError(f"Unable to read {name!r}: a file name has no zero bytes") from None


class SecretKeyring(SecretBase, name="secret_keyring"):
    """`serial=N`: the number of a key in the kernel's keyring."""

    class Properties(CommonProperties):
        serial = opt.text("Serial number of the key")

    def load(self) -> bytearray:
        text = self.opts.serial
        if text is None:
            raise BlockError("Parameter 'serial' is missing")
        if not re.fullmatch(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)", text):
            raise BlockError("Parameter 'serial' expects integer")
        serial = int(text, 0 if "x" in text.lower() else 10) if len(text) < 30 else 1 << 40
        if not -(1 << 31) <= serial < 1 << 31:
            raise BlockError("Parameter 'serial' expects int32_t")
        if serial == 0:
            raise BlockError("'serial' should not be equal to 0")
        return read_key(serial)


def read_key(serial: int) -> bytearray:
    """The payload of a key by the system call keyctl(2) with KEYCTL_READ; raises `BlockError`."""
    number = KEYCTL_NUMBERS.get(os.uname().machine) if sys.platform == "linux" else None
    if number is None:
        raise BlockError(f"Unable to read serial key {serial & 0xFFFF_FFFF:08x}: no kernel keyring on {sys.platform} {os.uname().machine}")
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    buffer = bytearray()
    while True:
        room = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        length = call(ctypes.c_long(number), ctypes.c_long(KEYCTL_READ), ctypes.c_int(serial), room, ctypes.c_size_t(len(buffer)))
        del room
        if length < 0:
            text = os.strerror(ctypes.get_errno())
            raise BlockError(f"Unable to read serial key {serial & 0xFFFF_FFFF:08x}: {text}")
        if length <= len(buffer):
            return buffer[:length] if length < len(buffer) else buffer
        wipe(buffer)
        if length > MAX_BYTES:
            raise BlockError(f"The key {serial & 0xFFFF_FFFF:08x} is larger than {MAX_BYTES} bytes")
        buffer = bytearray(length)


def decode_base64(text: bytearray) -> bytearray:
    """Base64 (RFC 4648) with line ends; of a last group of less than four characters nothing is taken."""
    if re.search(rb"[^A-Za-z0-9+/=\r\n]", text):
        raise BlockError("Base64 data contains invalid characters")
    clean = text.translate(None, b"\r\n")
    try:
        plain = base64.b64decode(clean[: len(clean) // 4 * 4])
    except binascii.Error:
        raise BlockError("Base64 data contains invalid characters") from None
    out = bytearray(plain)
    wipe(clean, plain)
    return out
