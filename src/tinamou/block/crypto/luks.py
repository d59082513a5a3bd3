"""LUKS version 1 headers (LUKS On-Disk Format Specification 1.2.3, C. Fruhwirth, 2018): reading, creating, key slots.

A header of 592 bytes names the cipher and has eight key slots. The master key lies in each active slot's key material, spread by
the anti-forensic splitter over 4000 stripes and encrypted with a key that PBKDF2 (RFC 8018) derives from the slot's passphrase.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, Protocol

from ..errors import BlockError
from ..layout import Struct, u16, u32
from . import SECTOR, ciphers, wipe
from .options import MAGIC
from .sectors import HASHES, IV_GENERATORS, MODES, SectorCipher, check_mode, digest_size

SLOTS = 8
STRIPES = 4000
ACTIVE, INACTIVE = 0x00AC71F3, 0x0000DEAD
DIGEST_BYTES, SALT_BYTES = 20, 32
MATERIAL_AT = 4096
"""Byte of the first slot's key material; slots are aligned to as much."""

MIN_ITERATIONS = 1000
MAX_ITERATIONS = 1 << 28
"""Accepted in a header, and written to one: a minute or more of SHA-1 on a fast machine."""

DEFAULT_TIME = 2000

Bytes20 = Annotated[bytes, "20s"]
Bytes32 = Annotated[bytes, "32s"]
Bytes40 = Annotated[bytes, "40s"]


class Slot(Struct, endian=">"):
    """48 bytes."""

    state: u32 = INACTIVE
    iterations: u32 = 0
    salt: Bytes32 = bytes(32)
    offset: u32 = 0  # of the key material, in sectors
    stripes: u32 = STRIPES


class Header(Struct, endian=">"):
    """208 bytes, followed by eight slots."""

    magic: Annotated[bytes, "6s"] = MAGIC
    version: u16 = 1
    cipher: Bytes32 = bytes(32)
    mode: Bytes32 = bytes(32)
    hash: Bytes32 = bytes(32)
    payload: u32 = 0  # in sectors
    key_bytes: u32 = 0
    digest: Bytes20 = bytes(20)
    digest_salt: Bytes32 = bytes(32)
    digest_iterations: u32 = 0
    uuid: Bytes40 = bytes(40)

    def texts(self) -> list[str]:
        """Names of cipher, mode and hash; raises `BlockError` when one has no end."""
        found = []
        for name, field in (("cipher name", self.cipher), ("cipher mode", self.mode), ("hash spec", self.hash)):
            if b"\0" not in field:
                raise BlockError(f"LUKS header {name} is not NUL terminated")
            found.append(field.split(b"\0")[0].decode("ascii", "replace"))
        return found


HEADER_BYTES = Header.packed_size + SLOTS * Slot.packed_size


class Place(Protocol):
    """Where a header lies. Positions count from its first byte."""

    def read(self, pos: int, length: int) -> bytes: ...

    def write(self, pos: int, data: bytes | bytearray) -> None: ...

    def flush(self) -> None: ...


class Algorithms:
    """Cipher ("aes"), mode ("xts"), vector generator, its hash (None: none named), hash, and bytes of the master key."""

    def __init__(self, cipher: str, mode: str, ivgen: str, ivgen_hash: str | None, hash: str, key_bytes: int) -> None:
        self.cipher = cipher
        self.mode = mode
        self.ivgen = ivgen
        self.ivgen_hash = ivgen_hash
        self.hash = hash
        self.key_bytes = key_bytes

    @classmethod
    def chosen(cls, options: Any) -> Algorithms:
        """What `CreateOptions` ask for; raises `BlockError`."""
        for key, value, known in (
            ("cipher-alg", options.cipher_alg, ciphers.NAMES),
            ("cipher-mode", options.cipher_mode, MODES),
            ("ivgen-alg", options.ivgen_alg, IV_GENERATORS),
            ("ivgen-hash-alg", options.ivgen_hash_alg, HASHES),
            ("hash-alg", options.hash_alg, HASHES),
        ):
            if value is not None and value not in known:
                import difflib

                near = difflib.get_close_matches(value, known, 1)
                hints = [f"Did you mean '{near[0]}'?"] if near else []
                raise BlockError(f"Parameter '{key}' does not accept value '{value}'", *hints)
        name = options.cipher_alg or "aes-256"
        cipher, _, bits = name.partition("-")
        if cipher not in ciphers.KEY_BYTES:
            raise BlockError(f"Algorithm '{name}' not supported")
        mode = options.cipher_mode or "xts"
        ivgen = options.ivgen_alg or "plain64"
        ivgen_hash = options.ivgen_hash_alg or ("sha256" if ivgen == "essiv" else None)
        made = cls(cipher, mode, ivgen, ivgen_hash, options.hash_alg or "sha256", int(bits) // 8 * (2 if mode == "xts" else 1))
        check_mode(cipher, mode, made.key_bytes)
        made.check_essiv()
        digest_size(made.hash)
        return made

    @classmethod
    def stored(cls, header: Header) -> Algorithms:
        """What a header names; raises `BlockError`."""
        cipher, spec, hash_name = header.texts()
        mode, dash, ivgen = spec.partition("-")
        if not dash:
            raise BlockError(f"Unexpected cipher mode string format '{spec}'")
        ivgen, colon, ivgen_hash = ivgen.partition(":")
        if mode not in MODES:
            raise BlockError(f"Cipher mode '{mode}' not supported")
        check_mode(cipher, mode, header.key_bytes)
        for name in ([ivgen_hash] if colon else []) + [hash_name]:
            if name not in HASHES:
                raise BlockError(f"Hash algorithm '{name}' not supported")
        if ivgen not in IV_GENERATORS:
            raise BlockError(f"IV generator '{ivgen}' not supported")
        if ivgen == "essiv" and not colon:
            raise BlockError("Missing IV generator hash specification")
        made = cls(cipher, mode, ivgen, ivgen_hash if colon else None, hash_name, header.key_bytes)
        made.check_essiv()
        digest_size(hash_name)
        return made

    def check_essiv(self) -> None:
        if self.ivgen != "essiv":
            return
        size = digest_size(self.ivgen_hash or "sha256")
        if self.cipher in ciphers.BLOCK_BYTES:
            raise BlockError(f"Cipher {self.name} not supported with essiv")
        if size not in ciphers.KEY_BYTES[self.cipher]:
            raise BlockError(f"No {self.cipher.upper()} cipher with key size {size} available")

    @property
    def name(self) -> str:
        """With the key size in bits: "aes-256"."""
        return f"{self.cipher}-{self.key_bytes * (4 if self.mode == 'xts' else 8)}"

    @property
    def mode_text(self) -> str:
        """As in the header: "cbc-essiv:sha256"."""
        return f"{self.mode}-{self.ivgen}" + (f":{self.ivgen_hash}" if self.ivgen_hash else "")

    @property
    def material_bytes(self) -> int:
        """Key material of one slot, in whole sectors."""
        return -(-self.key_bytes * STRIPES // SECTOR) * SECTOR

    @property
    def slot_sectors(self) -> int:
        """Distance of two slots."""
        return -(-self.material_bytes // MATERIAL_AT) * MATERIAL_AT // SECTOR

    @property
    def header_bytes(self) -> int:
        """Everything before the payload."""
        return MATERIAL_AT + SLOTS * self.slot_sectors * SECTOR

    def sectors(self, key: bytes | bytearray) -> SectorCipher:
        return SectorCipher(self.cipher, self.mode, self.ivgen, key, self.ivgen_hash)


class Luks:
    """A header in a place, with the operations on it."""

    def __init__(self, place: Place, header: Header, slots: list[Slot], algorithms: Algorithms) -> None:
        self.place = place
        self.header = header
        self.slots = slots
        self.algorithms = algorithms

    @property
    def payload_bytes(self) -> int:
        """Byte of the file where the encrypted disk begins."""
        return self.header.payload * SECTOR

    @classmethod
    def load(cls, place: Place, detached: bool = False) -> Luks:
        """Read and check a header; raises `BlockError`. `detached`: the payload lies in another file."""
        data = place.read(0, HEADER_BYTES)
        header = Header.unpack(data)
        slots = [Slot.unpack(data, Header.packed_size + i * Slot.packed_size) for i in range(SLOTS)]
        if header.magic != MAGIC:
            raise BlockError("Volume is not in LUKS format")
        if header.version != 1:
            raise BlockError(f"LUKS version {header.version} is not supported")
        header.texts()
        check_places(header, slots, detached)
        return cls(place, header, slots, Algorithms.stored(header))

    @classmethod
    def create(
        cls, place: Place, algorithms: Algorithms, passphrase: bytearray, iter_time: int | None, detached: bool = False
    ) -> tuple[Luks, bytearray]:
        """Write a new header whose slot 0 opens with `passphrase`; also the master key, which the caller wipes."""
        a = algorithms
        header = Header(
            cipher=a.cipher.encode().ljust(32, b"\0"),
            mode=a.mode_text.encode().ljust(32, b"\0"),
            hash=a.hash.encode().ljust(32, b"\0"),
            payload=0 if detached else a.header_bytes // SECTOR,
            key_bytes=a.key_bytes,
            uuid=random_uuid().encode().ljust(40, b"\0"),
        )
        slots = [Slot(offset=MATERIAL_AT // SECTOR + i * a.slot_sectors) for i in range(SLOTS)]
        made = cls(place, header, slots, a)
        key = bytearray(os.urandom(a.key_bytes))
        try:
            milliseconds = DEFAULT_TIME if iter_time is None else iter_time
            made._fill_slot(0, key, passphrase, milliseconds)
            header.digest_salt = os.urandom(SALT_BYTES)
            header.digest_iterations = iterations(a.hash, DIGEST_BYTES, milliseconds / 8)
            header.digest = pbkdf2(a.hash, key, header.digest_salt, header.digest_iterations, DIGEST_BYTES)
            made._write_header()
        except BaseException:
            wipe(key)
            raise
        return made, key

    def info(self) -> dict[str, Any]:
        """The facts `info` shows."""
        a = self.algorithms
        out: dict[str, Any] = {"ivgen-alg": a.ivgen, "hash-alg": a.hash, "cipher-alg": a.name}
        out["uuid"] = self.header.uuid.split(b"\0")[0].decode("ascii", "replace")
        if a.ivgen == "essiv":
            out["ivgen-hash-alg"] = a.ivgen_hash
        out["cipher-mode"] = a.mode
        out["slots"] = [
            {"active": True, "iters": s.iterations, "key-offset": s.offset * SECTOR, "stripes": s.stripes}
            if s.state == ACTIVE
            else {"active": False, "key-offset": s.offset * SECTOR}
            for s in self.slots
        ]
        out["payload-offset"] = self.payload_bytes
        out["master-key-iters"] = self.header.digest_iterations
        return out

    # Keys

    def unlock(self, passphrase: bytearray) -> bytearray:
        """The master key, which the caller wipes; raises `BlockError` when no slot opens."""
        for index in range(SLOTS):
            key = self.try_slot(index, passphrase)
            if key is not None:
                return key
        raise BlockError("Invalid password, cannot unlock any keyslot")

    def try_slot(self, index: int, passphrase: bytearray) -> bytearray | None:
        """The master key out of one slot, None when it is inactive or the passphrase another."""
        slot = self.slots[index]
        if slot.state != ACTIVE:
            return None
        a = self.algorithms
        for what, count in ((f"Keyslot {index}", slot.iterations), ("The master key digest", self.header.digest_iterations)):
            if count > MAX_ITERATIONS:
                raise BlockError(f"{what} has {count} iterations, more than {MAX_ITERATIONS}: a header made to waste time")
        slot_key = pbkdf2(a.hash, passphrase, slot.salt, slot.iterations, a.key_bytes)
        material = bytearray(self.place.read(slot.offset * SECTOR, a.material_bytes))
        try:
            a.sectors(slot_key).decrypt(0, memoryview(material))
            key = merge(a.hash, memoryview(material)[: a.key_bytes * STRIPES], a.key_bytes)
        finally:
            wipe(slot_key, material)
        digest = pbkdf2(a.hash, key, self.header.digest_salt, self.header.digest_iterations, DIGEST_BYTES)
        if digest == self.header.digest:
            return key
        wipe(key)
        return None

    def _fill_slot(self, index: int, key: bytearray, passphrase: bytearray, milliseconds: float) -> None:
        """Write key material that opens with `passphrase`, then mark the slot active (not yet on disk)."""
        a = self.algorithms
        slot = self.slots[index]
        salt = os.urandom(SALT_BYTES)
        count = iterations(a.hash, a.key_bytes, milliseconds)
        slot_key = pbkdf2(a.hash, passphrase, salt, count, a.key_bytes)
        material = split(a.hash, key)
        material.extend(bytes(a.material_bytes - len(material)))
        try:
            self.place.write(slot.offset * SECTOR, a.sectors(slot_key).encrypt(0, material))
        finally:
            wipe(slot_key, material)
        self.place.flush()
        slot.state, slot.iterations, slot.salt, slot.stripes = ACTIVE, count, salt, STRIPES

    def _write_header(self) -> None:
        self.place.write(0, self.header.pack() + b"".join(slot.pack() for slot in self.slots))
        self.place.flush()

    def erase(self, index: int) -> None:
        """Overwrite a slot's key material with random bytes and mark the slot inactive."""
        slot = self.slots[index]
        slot.state, slot.iterations, slot.salt = INACTIVE, 0, bytes(SALT_BYTES)
        self._write_header()
        for _ in range(2):
            self.place.write(slot.offset * SECTOR, os.urandom(self.algorithms.material_bytes))
            self.place.flush()

    def amend(self, options: Any, force: bool, current: Callable[[], bytearray], secret: Callable[[str], bytearray]) -> None:
        """Change key slots as `AmendOptions` say. `current()` is the passphrase the image was opened with, `secret(id)` another
        one; both results are wiped here. Raises `BlockError`."""
        if options.state is None:
            raise BlockError("Parameter 'state' is missing")
        if options.state not in ("active", "inactive"):
            raise BlockError(f"Parameter 'state' does not accept value '{options.state}'")
        if options.state == "active":
            self._amend_active(options, force, current, secret)
        else:
            self._amend_inactive(options, force, secret)

    def _amend_active(self, options: Any, force: bool, current: Callable[[], bytearray], secret: Callable[[str], bytearray]) -> None:
        if options.new_secret is None:
            raise BlockError("'new-secret' is required to activate a keyslot")
        if options.old_secret is not None:
            raise BlockError("'old-secret' must not be given when activating keyslots")
        if options.keyslot is not None:
            index = self._valid(options.keyslot)
            if self.slots[index].state == ACTIVE and not force:
                raise BlockError(f"Refusing to overwrite active keyslot {index} - please erase it first")
        else:
            free = [i for i in range(SLOTS) if self.slots[i].state != ACTIVE]
            if not free:
                raise BlockError("Can't add a keyslot - all keyslots are in use")
            index = free[0]
        old, new = current(), bytearray()
        key = None
        try:
            key = self.unlock(old)
            new = secret(options.new_secret)
            self._fill_slot(index, key, new, DEFAULT_TIME if options.iter_time is None else options.iter_time)
        finally:
            wipe(key, old, new)
        self._write_header()

    def _amend_inactive(self, options: Any, force: bool, secret: Callable[[str], bytearray]) -> None:
        if options.new_secret is not None:
            raise BlockError("'new-secret' must not be given when erasing keyslots")
        if options.iter_time is not None:
            raise BlockError("'iter-time' must not be given when erasing keyslots")
        active = [i for i in range(SLOTS) if self.slots[i].state == ACTIVE]
        old = secret(options.old_secret) if options.old_secret is not None else None
        try:
            if options.keyslot is not None:
                index = self._valid(options.keyslot)
                if old is not None and not self._opens(index, old):
                    raise BlockError(f"Given keyslot {index} doesn't contain the given old password for erase operation")
                if not force and index not in active:
                    raise BlockError(f"Given keyslot {index} is already erased (inactive) ")
                if not force and active == [index]:
                    raise BlockError(
                        f"Attempt to erase the only active keyslot {index} which will erase all the data in the image "
                        "irreversibly - refusing operation"
                    )
                self.erase(index)
                return
            if old is None:
                raise BlockError(
                    "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be given"
                )
            matching = [i for i in active if self._opens(i, old)]
        finally:
            wipe(old)
        if not matching:
            raise BlockError("No keyslots match given (old) password for erase operation")
        if not force and matching == active:
            raise BlockError(
                "All the active keyslots match the (old) password that was given and erasing them will erase all the data in the "
                "image irreversibly - refusing operation"
            )
        for index in matching:
            self.erase(index)

    def _opens(self, index: int, passphrase: bytearray) -> bool:
        key = self.try_slot(index, passphrase)
        wipe(key)
        return key is not None

    @staticmethod
    def _valid(index: int) -> int:
        if not 0 <= index < SLOTS:
            raise BlockError(f"Invalid keyslot {index} specified, must be between 0 and {SLOTS - 1}")
        return index


def check_places(header: Header, slots: list[Slot], detached: bool) -> None:
    """Whether header, key material and payload lie side by side; raises `BlockError`."""
    first = MATERIAL_AT // SECTOR
    limit = header.payload
    if detached and not limit:
        limit = 1 << 32
    elif limit < first:
        raise BlockError("LUKS payload is overlapping with the header")
    if header.digest_iterations == 0:
        raise BlockError("LUKS key iteration count is zero")
    sectors = -(-header.key_bytes * STRIPES // SECTOR)
    for i, slot in enumerate(slots):
        if slot.state not in (ACTIVE, INACTIVE):
            raise BlockError(f"Keyslot {i} state (active/disable) is corrupted")
        if slot.stripes != STRIPES:
            raise BlockError(f"Keyslot {i} is corrupted (stripes {signed(slot.stripes)} != {STRIPES})")
        if slot.offset < first:
            raise BlockError(f"Keyslot {i} is overlapping with the LUKS header")
        if slot.state == ACTIVE and slot.iterations == 0:
            raise BlockError(f"Keyslot {i} iteration count is zero")
        if slot.offset + sectors > limit:
            raise BlockError(f"Keyslot {i} is overlapping with the encrypted payload")
        for j in range(i + 1, SLOTS):
            other = slots[j].offset
            if slot.offset + sectors > other and other + sectors > slot.offset:
                raise BlockError(f"Keyslots {i} and {j} are overlapping in the header")


def random_uuid() -> str:
    """Version 4 of RFC 9562."""
    value = int.from_bytes(os.urandom(16), "big") & ~(0xF << 76 | 3 << 62) | 4 << 76 | 2 << 62
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


# Derivation and splitting


def pbkdf2(hash_name: str, secret: bytes | bytearray, salt: bytes, count: int, length: int) -> bytes:
    """PBKDF2 with HMAC of a hash. Long runs are made in another thread, so that Ctrl-C is heard."""
    try:
        if count < 1 << 20:
            return hashlib.pbkdf2_hmac(hash_name, secret, salt, count, length)
        hashlib.pbkdf2_hmac(hash_name, secret, salt, 1, 1)
    except ValueError as error:
        raise BlockError(f"Hash algorithm '{hash_name}' is not supported by this Python's OpenSSL: {error}") from None
    out: list[bytes] = []
    thread = threading.Thread(target=lambda: out.append(hashlib.pbkdf2_hmac(hash_name, secret, salt, count, length)), daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    return out[0]


def iterations(hash_name: str, length: int, milliseconds: float) -> int:
    """How many iterations for `length` bytes take that much processor time on this machine; at least 1000. Raises `BlockError` when they
    are more than `MAX_ITERATIONS`."""
    if milliseconds <= 0:
        return MIN_ITERATIONS
    count = 1 << 14
    while True:
        began = time.thread_time()
        hashlib.pbkdf2_hmac(hash_name, b"password", b"salt" * 8, count, length)
        took = time.thread_time() - began
        if took >= 0.02:
            break
        count *= 2
    wanted = max(MIN_ITERATIONS, math.floor(count / took * milliseconds / 1000))
    if wanted > MAX_ITERATIONS:
        most = math.floor(MAX_ITERATIONS * 1000 * took / count)
        raise BlockError(f"'iter-time' asks for {wanted} iterations, more than {MAX_ITERATIONS}: about {most} ms are possible here")
    return wanted


def diffuse(hash_name: str, block: bytes | bytearray) -> bytes:
    """The function H1 of the specification's chapter 2.4: each digest-sized piece hashed with its number."""
    new = hashlib.new
    step = digest_size(hash_name)
    return b"".join(
        [
            new(hash_name, i.to_bytes(4, "big") + block[at : at + step], usedforsecurity=False).digest()[: len(block) - at]
            for i, at in enumerate(range(0, len(block), step))
        ]
    )


def split(hash_name: str, key: bytearray) -> bytearray:
    """`STRIPES` stripes of the key's length; all are needed to get the key back."""
    size = len(key)
    out = bytearray(os.urandom(size * (STRIPES - 1)))
    last = _condense(hash_name, memoryview(out), size)
    out += bytes(a ^ b for a, b in zip(last, key, strict=True))
    wipe(last)
    return out


def merge(hash_name: str, stripes: memoryview, size: int) -> bytearray:
    """The key that `split` hid."""
    end = len(stripes) - size
    state = _condense(hash_name, stripes[:end], size)
    key = bytearray(a ^ b for a, b in zip(state, stripes[end:], strict=True))
    wipe(state)
    return key


def _condense(hash_name: str, stripes: memoryview, size: int) -> bytearray:
    state = bytes(size)
    for at in range(0, len(stripes), size):
        mixed = int.from_bytes(state, "big") ^ int.from_bytes(stripes[at : at + size], "big")
        state = diffuse(hash_name, mixed.to_bytes(size, "big"))
    return bytearray(state)


def passphrase(graph: Any, name: str | None, key: str) -> bytearray:
    """A copy of the secret that the option `key` names, which the caller wipes; must be UTF-8 text."""
    if name is None:
        raise BlockError(f"Parameter '{key}' is required for cipher")
    data = bytearray(graph.secret(name))
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        wipe(data)
        raise BlockError(f"Data from secret {name} is not valid UTF-8") from None
    return data


__all__ = ["Algorithms", "Luks", "passphrase"]
