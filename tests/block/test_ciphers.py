"""Ciphers and sector modes: published test vectors, and every implementation of the same thing against the others."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.block.crypto import luks, openssl, sectors, wipe
from tinamou.block.crypto.ciphers import LibraryCipher, decrypt_cbc, make
from tinamou.block.crypto.sectors import BulkSectors, SectorCipher, Vectors
from tinamou.block.errors import BlockError

BLOCKS = [
    # FIPS 197, appendix C
    ("aes", "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
    ("aes", "000102030405060708090a0b0c0d0e0f1011121314151617", "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191"),
    (
        "aes",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "00112233445566778899aabbccddeeff",
        "8ea2b7ca516745bfeafc49904b496089",
    ),
    # The reference vectors of Serpent's authors
    ("serpent", "00" * 16, "d29d576fcea3a3a7ed9099f29273d78e", "b2288b968ae8b08648d1ce9606fd992d"),
    ("serpent", "00" * 24, "d29d576fceaba3a7ed9899f2927bd78e", "130e353e1037c22405e8faefb2c3c3e9"),
    ("serpent", "00" * 32, "d095576fcea3e3a7ed98d9f29073d78e", "b90ee5862de69168f2bdd5125b45472b"),
    # NESSIE, set 1, vector 0
    ("serpent", "80" + "00" * 15, "00" * 16, "264e5481eff42a4606abda06c0bfda3d"),
    ("serpent", "80" + "00" * 23, "00" * 16, "9e274ead9b737bb21efcfca548602689"),
    ("serpent", "80" + "00" * 31, "00" * 16, "a223aa1288463c0e2be38ebd825616c0"),
    # The Twofish paper, appendix B
    ("twofish", "00" * 16, "00" * 16, "9f589f5cf6122c32b6bfec2f2ae8c35a"),
    ("twofish", "0123456789abcdeffedcba98765432100011223344556677", "00" * 16, "cfd1d2e5a9be9cdf501f13b892bd2248"),
    ("twofish", "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff", "00" * 16, "37527be0052334b89f0cfccae87cfa20"),
    # RFC 2144, appendix B.1
    ("cast5", "0123456712345678234567893456789a", "0123456789abcdef", "238b4fe5847e44b2"),
]


@pytest.mark.parametrize(("name", "key", "plain", "crypted"), BLOCKS)
def test_published_blocks(name: str, key: str, plain: str, crypted: str) -> None:
    cipher = make(name, bytes.fromhex(key))
    assert cipher.encrypt(bytes.fromhex(plain)).hex() == crypted
    assert cipher.decrypt(bytes.fromhex(crypted) * 5).hex() == plain * 5


@pytest.mark.parametrize("name", ["serpent", "twofish"])
def test_many_blocks_are_single_blocks(name: str) -> None:
    """Beyond one chunk, with a last chunk of another length."""
    cipher = make(name, os.urandom(32))
    data = os.urandom(16 * (4096 + 37))
    whole = cipher.encrypt(data)
    assert cipher.decrypt(whole) == data
    for at in (0, 16 * 4095, 16 * 4096, len(data) - 16):
        assert cipher.encrypt(data[at : at + 16]) == whole[at : at + 16]


def test_twofish_iterated() -> None:
    """The 49 steps of the paper's appendix B.2: each key is the plaintext before, each plaintext the ciphertext before."""
    plain, key = bytes(16), bytes(16)
    for _ in range(49):
        crypted = make("twofish", key).encrypt(plain)
        key, plain = plain, crypted
    assert crypted.hex() == "5d9d4eeffa9151575524f115815a12e0"


IEEE_1619_VECTOR_10 = (
    "27182818284590452353602874713526624977572470936999595749669676273141592653589793238462643383279502884197169399375105820974944592"
)


def engines(cipher: str, mode: str, key: bytes) -> list[Any]:
    """Every implementation this machine has of a cipher in a mode."""
    made: list[Any] = [BulkSectors(cipher, mode, key)]
    lib = openssl.libcrypto()
    if cipher == "aes" and not (mode == "xts" and len(key) == 48):
        made.append(openssl.LibrarySectors(cipher, mode, key))
        if lib is not None:
            kind = lib.EVP_get_cipherbyname(f"AES-{len(key) * (4 if mode == 'xts' else 8)}-{mode.upper()}".encode())
            made.append(openssl.OpensslSectors(lib, kind, mode, key))
            by_calls = openssl.OpensslSectors(lib, kind, mode, key)
            for encrypt in (False, True):
                by_calls._context(encrypt).window = None  # as with a library that keeps vectors elsewhere
            made.append(by_calls)
    return made


def test_published_xts() -> None:
    """IEEE 1619-2007, appendix B, vector 10: AES-256, data unit 0xff, 512 bytes counting up twice."""
    data = bytes(range(256)) * 2
    vector = Vectors("plain64", 16, "aes", b"", None).make(0xFF, 1)
    for engine in engines("aes", "xts", bytes.fromhex(IEEE_1619_VECTOR_10)):
        out = bytes(engine.encrypt(vector, data))
        assert out[:16].hex() == "1c3b3a102f770386e4836c99e370cf9b"
        assert out[-16:].hex() == "c4f36ffda9fcea70b9c6e693e148c151"
        assert bytes(engine.decrypt(vector, out)) == data


@pytest.mark.parametrize(
    ("mode", "vector", "expected"),
    [
        ("cbc", "000102030405060708090a0b0c0d0e0f", "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"),  # F.2.1
        ("ctr", "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"),  # F.5.1
    ],
)
def test_published_modes(mode: str, vector: str, expected: str) -> None:
    """NIST SP 800-38A, as the first blocks of a sector."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    start = bytes.fromhex(vector)
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51").ljust(512, b"\0")
    for engine in engines("aes", mode, key):
        out = bytes(engine.encrypt(start, plain))
        assert out[:32].hex() == expected
        assert bytes(engine.decrypt(start, out)) == plain
        if mode == "cbc":
            assert decrypt_cbc(key, start, out) == plain


@pytest.mark.parametrize("mode", sectors.MODES)
@pytest.mark.parametrize("size", [16, 24, 32])
def test_engines_agree(mode: str, size: int) -> None:
    key = os.urandom(size * 2 if mode == "xts" else size)
    data, vectors = os.urandom(40 * 512), os.urandom(40 * 16)
    made = engines("aes", mode, key)
    crypted = {bytes(engine.encrypt(vectors, data)) for engine in made}
    assert len(crypted) == 1
    assert {bytes(engine.decrypt(vectors, crypted.copy().pop())) for engine in made} == {data}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["aes", "serpent", "twofish"]),
    st.sampled_from(sectors.MODES),
    st.sampled_from(sectors.IV_GENERATORS),
    st.integers(0, (1 << 64) - 9),
    st.integers(1, 8),
    st.integers(1, 7),
)
def test_sectors_do_not_depend_on_the_request(cipher: str, mode: str, ivgen: str, sector: int, count: int, cut: int) -> None:
    """A long request is its sectors one by one, and decrypts to what was there."""
    key = hashlib.sha512(f"{cipher}{mode}".encode()).digest()[: 64 if mode == "xts" else 32]
    made = SectorCipher(cipher, mode, ivgen, key, "sha256" if ivgen == "essiv" else None)
    data = hashlib.shake_128(b"x").digest(512 * count)
    whole = bytearray(made.encrypt(sector, data))
    cut = min(cut, count)
    parts = bytes(made.encrypt(sector, data[: cut * 512])) + (bytes(made.encrypt(sector + cut, data[cut * 512 :])) if cut < count else b"")
    assert parts == whole
    made.decrypt(sector, memoryview(whole))
    assert whole == data


def test_vectors() -> None:
    plain = Vectors("plain", 16, "aes", b"", None).make(0x1_0000_0002, 1)
    assert plain == (2).to_bytes(16, "little")
    assert Vectors("plain64", 16, "aes", b"", None).make(0x1_0000_0002, 1) == (0x1_0000_0002).to_bytes(16, "little")
    wrapped = b"".join(n.to_bytes(8, "little") for n in (0xFFFF_FFFE, 0xFFFF_FFFF, 0, 1))
    assert Vectors("plain", 8, "cast5", b"", None).make(0xFFFF_FFFE, 4) == wrapped
    assert Vectors("plain64", 16, "aes", b"", None).make(5, 0) == b""
    key = bytes(range(16))
    essiv = Vectors("essiv", 16, "aes", key, "sha256").make(7, 2)
    assert essiv[16:] == LibraryCipher("aes", hashlib.sha256(key).digest()).encrypt((8).to_bytes(16, "little"))


@pytest.mark.parametrize(
    ("cipher", "mode", "size", "message"),
    [
        ("aes", "xts", 48 + 1, "multiple of 2"),
        ("aes", "cbc", 17, "Algorithm 'aes' with key size 17 bytes not supported"),
        ("foo", "cbc", 16, "Algorithm 'foo' with key size 16 bytes not supported"),
        ("aes", "gcm", 16, "Cipher mode 'gcm' not supported"),
        ("cast5", "xts", 32, "Unsupported cipher mode xts"),
    ],
)
def test_bad_combinations(cipher: str, mode: str, size: int, message: str) -> None:
    with pytest.raises(BlockError, match=message):
        SectorCipher(cipher, mode, "plain64", bytes(size))


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("size", [16, 24, 32, 48, 64])
def test_splitter(name: str, size: int) -> None:
    """All stripes give the key back; one changed bit gives another one."""
    key = bytearray(os.urandom(size))
    stripes = luks.split(name, key)
    assert len(stripes) == size * luks.STRIPES
    assert luks.merge(name, memoryview(stripes), size) == key
    stripes[len(stripes) // 2] ^= 1
    assert luks.merge(name, memoryview(stripes), size) != key


def test_wipe() -> None:
    a, b = bytearray(b"secret"), hashlib.sha256(b"x").digest()
    wipe(a, b, None)
    assert a == bytes(6) and b == bytes(32)


def test_derivation() -> None:
    """RFC 6070, and the length from which a thread does it."""
    expected = hashlib.pbkdf2_hmac("sha1", b"password", b"salt", 1 << 20, 20)
    assert luks.pbkdf2("sha1", b"password", b"salt", 1 << 20, 20) == expected
    assert luks.pbkdf2("sha1", b"password", b"salt", 4096, 20).hex() == "4b007901b765489abead49d926f721d065a429c1"


def test_without_libcrypto(monkeypatch: pytest.MonkeyPatch) -> None:
    key = os.urandom(64)
    fast = SectorCipher("aes", "xts", "plain64", key)
    monkeypatch.setattr(openssl, "libcrypto", lambda: None)
    slow = SectorCipher("aes", "xts", "plain64", key)
    assert type(slow.engine).__name__ == "LibrarySectors"
    data = os.urandom(4096)
    assert slow.encrypt(3, data) == fast.encrypt(3, data)
