"""Encrypted qcow2 images: where this format meets `tinamou.block.crypto.qcow2`, which has five functions:

open_cipher(image, kind)           an object with `decrypt(pos, offset, view)` (in place) and `encrypt(pos, offset, data)` (returns
                                   a new buffer) over whole 512-byte sectors; `pos` is the byte of the disk, which legacy AES
                                   numbers sectors by, `offset` the byte in the data file, which LUKS numbers them by. `kind` is
                                   "aes" or "luks". The LUKS header lies at `image.encryption_header` (offset, length). With
                                   `image.settings.no_io` no secret is needed.
create_encryption(image, options)  called while an image is created: sets `image.header.crypt_method`, allocates clusters
                                   (`image.allocate_clusters`), writes the header there, and adds the extension
                                   `(layout.EXT_ENCRYPTION, offset and length as two 64-bit big-endian numbers)` to
                                   `image.unknown_extensions`; sets `image.encryption_header` and `image.cipher`.
amend_encryption(image, options, given, force)  changes key slots.
describe(image)                    the `encrypt` part of `info`.
overhead(options)                  bytes that the encryption header will take (`measure`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ...node import BlockError

if TYPE_CHECKING:
    from . import Qcow2


def _crypto(what: str) -> Any:
    try:
        return importlib.import_module("tinamou.block.crypto.qcow2")
    except ModuleNotFoundError as error:
        raise BlockError(f"{what} needs the module {error.name}") from None


def open_cipher(image: Qcow2, kind: str) -> Any:
    if image.settings.no_io:
        return None
    return _crypto("Reading an encrypted image").open_cipher(image, kind)


def create_encryption(image: Qcow2, options: Any) -> None:
    _crypto("Creating an encrypted image").create_encryption(image, options)


def amend_encryption(image: Qcow2, options: Any, given: set[str], force: bool) -> None:
    _crypto("Changing key slots").amend_encryption(image, options, given, force)


def describe(image: Qcow2) -> dict[str, Any]:
    try:
        described: dict[str, Any] = _crypto("").describe(image)
    except BlockError:
        return {"format": {1: "aes", 2: "luks"}[image.header.crypt_method]}
    return described


def overhead(options: Any) -> int:
    return int(_crypto("Measuring an encrypted image").overhead(options))
