"""Encrypted qcow2 images: where this format meets `tinamou.block.crypto.qcow2`, which has these functions:

open_cipher(image, kind)           an object with `decrypt(pos, offset, view)` (in place) and `encrypt(pos, offset, data)` (returns
                                   a new buffer) over whole 512-byte sectors; `pos` is the byte of the disk, which legacy AES
                                   numbers sectors by, `offset` the byte in the data file, which LUKS numbers them by. `kind` is
                                   "aes" or "luks". The LUKS header lies at `image.encryption_header` (offset, length). With
                                   `image.settings.no_io` no secret is needed, and the result is None.
create_encryption(image, options)  called while an image is created: sets `image.header.crypt_method`, allocates clusters
                                   (`image.allocate_clusters`), writes the header there, and adds the extension
                                   `(layout.EXT_ENCRYPTION, offset and length as two 64-bit big-endian numbers)` to
                                   `image.unknown_extensions`; sets `image.encryption_header` and `image.cipher`.
amend_encryption(image, options, given, force)  changes key slots.
describe(image)                    the `encrypt` part of `info`.
check_measure_options(graph, options)  whether the secret is there that an image with these options needs.
overhead(options)                  bytes that the encryption header will take (`measure`).

It is imported when an image or an option speaks of encryption, not before.
"""

from __future__ import annotations

from ...notation import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...graph import Graph
    from . import Qcow2


def open_cipher(image: Qcow2, kind: str) -> Any:
    from ...crypto import qcow2

    return qcow2.open_cipher(image, kind)


def create_encryption(image: Qcow2, options: Any) -> None:
    from ...crypto import qcow2

    qcow2.create_encryption(image, options)


def amend_encryption(image: Qcow2, options: Any, given: set[str], force: bool) -> None:
    from ...crypto import qcow2

    qcow2.amend_encryption(image, options, given, force)


def describe(image: Qcow2) -> dict[str, Any]:
    from ...crypto import qcow2

    return qcow2.describe(image)


def check_measure_options(graph: Graph, options: Any) -> None:
    from ...crypto import qcow2

    qcow2.check_measure_options(graph, options)


def overhead(options: Any) -> int:
    from ...crypto import qcow2

    return qcow2.overhead(options)
