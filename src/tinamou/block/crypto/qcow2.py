"""Encryption inside qcow2 images (qcow2.txt of the QEMU documentation, "Full disk encryption header pointer"): LUKS, and the
legacy AES-128-CBC whose key is the passphrase itself. `formats/qcow2/encryption.py` says what is called when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import BlockError
from ..formats.qcow2.layout import EXT_ENCRYPTION
from . import SECTOR, wipe
from .luks import Algorithms, Luks, passphrase
from .options import AmendOptions, CreateOptions
from .sectors import SectorCipher

if TYPE_CHECKING:
    from ..formats.qcow2 import Qcow2
    from ..graph import Graph
    from .ciphers import Data

PREFIX = "encrypt."


class Window:
    """The part of an image's file that has its LUKS header."""

    def __init__(self, image: Qcow2, offset: int, length: int) -> None:
        self.file = image.file
        self.offset = offset
        self.length = length

    def _check(self, pos: int, length: int) -> None:
        if pos + length > self.length:
            raise BlockError("Request for data outside of extension header")

    def read(self, pos: int, length: int) -> bytes:
        self._check(pos, length)
        if self.offset + pos >= self.file.size:
            return bytes(length)
        return self.file.read(self.offset + pos, length)

    def write(self, pos: int, data: bytes | bytearray) -> None:
        self._check(pos, len(data))
        self.file.write(self.offset + pos, data)

    def flush(self) -> None:
        self.file.flush()


class ImageCipher:
    """The sectors of an image, numbered by their place in the data file (LUKS) or, `by_position`, on the disk (legacy AES)."""

    def __init__(self, sectors: SectorCipher, by_position: bool) -> None:
        self.sectors = sectors
        self.by_position = by_position

    def decrypt(self, pos: int, offset: int, view: memoryview) -> None:
        self.sectors.decrypt((pos if self.by_position else offset) // SECTOR, view)

    def encrypt(self, pos: int, offset: int, data: Data) -> bytes | bytearray:
        return self.sectors.encrypt((pos if self.by_position else offset) // SECTOR, data)


def open_cipher(image: Qcow2, kind: str) -> ImageCipher | None:
    if kind == "aes":
        if image.encryption_header is not None:
            raise BlockError("CRYPTO header extension only expected with LUKS encryption method")
        if image.settings.no_io:
            return None
        return legacy_cipher(image, image.opts.encrypt_key_secret)
    luks = load(image)
    if image.settings.no_io:
        return None
    secret = passphrase(image.graph, image.opts.encrypt_key_secret, "encrypt.key-secret")
    try:
        key = luks.unlock(secret)
    finally:
        wipe(secret)
    return luks_cipher(luks, key)


def load(image: Qcow2) -> Luks:
    if image.encryption_header is None:
        raise BlockError("Missing CRYPTO header for crypt method 2")
    offset, length = image.encryption_header
    if offset % image.cluster_size:
        raise BlockError(f"Encryption header offset '{offset}' is not a multiple of cluster size '{image.cluster_size}'")
    return Luks.load(Window(image, offset, length))


def luks_cipher(luks: Luks, key: bytearray) -> ImageCipher:
    try:
        return ImageCipher(luks.algorithms.sectors(key), by_position=False)
    finally:
        wipe(key)


def legacy_cipher(image: Qcow2, name: str | None) -> ImageCipher:
    secret = passphrase(image.graph, name, "encrypt.key-secret")
    key = secret[:16].ljust(16, b"\0")
    try:
        return ImageCipher(SectorCipher("aes", "cbc", "plain64", key), by_position=True)
    finally:
        wipe(secret, key)


def luks_options(options: Any, cls: type[Any]) -> Any:
    """The `encrypt.` options of `options` as an instance of `cls`."""
    values = {}
    for option in cls.declared():
        value = getattr(options, "encrypt_" + option.attribute, None)
        if value is not None:
            values[option.key] = value
    return cls(values)


def wanted_format(options: Any) -> str | None:
    """The format asked for: "aes", "luks" or None; raises `BlockError` for options that do not go together."""
    given = [o for o in CreateOptions.declared() if getattr(options, "encrypt_" + o.attribute, None) is not None]
    if options.encryption is not None and options.encrypt_format is not None:
        raise BlockError("'encrypt.format' and its alias 'encryption' can't be used at the same time")
    kind = options.encrypt_format or ("aes" if options.encryption else None)
    if kind is None:
        if given:
            raise BlockError("Parameter 'encrypt.format' is missing")
        return None
    if kind not in ("aes", "luks"):
        raise BlockError(f"Parameter 'format' does not accept value '{kind}'")
    if kind == "aes":
        for option in given:
            if option.key != "key-secret":
                raise BlockError(f"Parameter '{PREFIX}{option.key}' is unexpected")
    return str(kind)


def create_encryption(image: Qcow2, options: Any) -> None:
    kind = wanted_format(options)
    if kind is None:
        return
    if kind == "aes":
        image.cipher = legacy_cipher(image, options.encrypt_key_secret)
        image.header.crypt_method = 1
        return
    chosen = luks_options(options, CreateOptions)
    algorithms = Algorithms.chosen(chosen)
    secret = passphrase(image.graph, chosen.key_secret, "encrypt.key-secret")
    size = image.cluster_size
    length = algorithms.header_bytes
    clusters = -(-length // size)
    try:
        offset = image.allocate_clusters(clusters) * size
        for at in range(offset, offset + clusters * size, 1 << 20):
            image.file.write_zeroes(at, min(1 << 20, offset + clusters * size - at))
        luks, key = Luks.create(Window(image, offset, length), algorithms, secret, chosen.iter_time)
    finally:
        wipe(secret)
    image.cipher = luks_cipher(luks, key)
    image.header.crypt_method = 2
    image.encryption_header = (offset, length)
    image.unknown_extensions.append((EXT_ENCRYPTION, offset.to_bytes(8, "big") + length.to_bytes(8, "big")))


def amend_encryption(image: Qcow2, options: Any, given: set[str], force: bool) -> None:
    if not image.header.crypt_method:
        raise BlockError("Can't amend encryption options - encryption not present")
    if image.header.crypt_method != 2:
        raise BlockError("Only LUKS encryption options can be amended")
    graph = image.graph
    load(image).amend(
        luks_options(options, AmendOptions),
        force,
        lambda: passphrase(graph, image.opts.encrypt_key_secret, "encrypt.key-secret"),
        lambda name: passphrase(graph, name, "encrypt.new-secret"),
    )


def describe(image: Qcow2) -> dict[str, Any]:
    if image.header.crypt_method == 1:
        return {"format": "aes"}
    facts = load(image).info()
    out: dict[str, Any] = {}
    for key, value in facts.items():
        if key in ("ivgen-hash-alg", "cipher-mode") and "format" not in out:
            out["format"] = "luks"
        out[key] = value
    return out


def check_measure_options(graph: Graph, options: Any) -> None:
    if wanted_format(options) == "luks":
        wipe(passphrase(graph, options.encrypt_key_secret, "encrypt.key-secret"))


def overhead(options: Any) -> int:
    """Bytes of the LUKS header that the options ask for, 0 without one; what is missing or wrong raises `BlockError`."""
    kind = wanted_format(options)
    if kind != "luks":
        return 0
    return Algorithms.chosen(luks_options(options, CreateOptions)).header_bytes
