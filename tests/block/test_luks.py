"""LUKS disks and encrypted qcow2: what we write the original and cryptsetup read, and the other way round; hostile headers."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from block.memory_nodes import Memory, apply
from support import originals
from support.beside import FLAKY
from tinamou.block.crypto import luks
from tinamou.block.crypto.luks import HEADER_BYTES, Header, Luks, Slot
from tinamou.block.crypto.options import AmendOptions
from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings, status

SECRET = {"qom-type": "secret", "id": "s0", "data": "hunter2"}
OBJECT = ("--object", "secret,id=s0,data=hunter2")
WRITE = Settings(write=True, discard="unmap")


def new_graph(*more: dict[str, str]) -> Graph:
    graph = Graph()
    for properties in (SECRET, *more):
        graph.add_object(properties)
    return graph


PLAIN = ("size", "compat", "cluster_size", "extended_l2", "data_file")


def make(graph: Graph, name: Path, fmt: str, **options: Any) -> None:
    """A new image; options with `_` for `-` and `__` for `.`."""
    prefix = "encrypt." if fmt == "qcow2" else ""
    values = {(key if key in PLAIN else prefix + key.replace("_", "-")): v
              for key, v in {"key_secret": "s0", "iter_time": "0", **options}.items() if v is not None}  # fmt: skip
    create(graph, str(name), fmt, create_class(fmt, str(name))(values))


def open_image(graph: Graph, name: Path, fmt: str, settings: Settings = WRITE, **options: Any) -> Any:
    key = "encrypt.key-secret" if fmt == "qcow2" else "key-secret"
    return graph.open(str(name), fmt, settings, {key: "s0", **options})


def original_io(name: Path, fmt: str, *commands: str) -> str:
    key = "encrypt.key-secret" if fmt == "qcow2" else "key-secret"
    words = [word for command in commands for word in ("-c", command)]
    return originals.run("qemu-io", *OBJECT, "--image-opts", f"driver={fmt},file.filename={name},{key}=s0", *words)


def original_make(name: Path, fmt: str, options: str) -> None:
    for _ in range(20):
        done = subprocess.run(
            [*originals.tool("qemu-img"), "create", "-q", "-f", fmt, *OBJECT, "-o", options, name, "1M"], capture_output=True, text=True
        )
        if FLAKY not in done.stderr:
            break
    assert done.returncode == 0, done.stderr


def cryptsetup(*args: str | Path, stdin: str = "hunter2") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*originals.tool("cryptsetup"), *map(str, args)], input=stdin, capture_output=True, text=True, timeout=60)


ALGORITHMS = [
    {},
    {"cipher_alg": "aes-128", "hash_alg": "sha1"},
    {"cipher_alg": "aes-192", "hash_alg": "sha512"},
    {"cipher_alg": "aes-128", "cipher_mode": "cbc", "ivgen_alg": "essiv"},
    {"cipher_alg": "aes-256", "cipher_mode": "cbc", "ivgen_alg": "plain"},
    {"cipher_alg": "aes-256", "cipher_mode": "ctr"},
    {"cipher_alg": "aes-256", "cipher_mode": "ecb", "hash_alg": "ripemd160"},
    {"cipher_alg": "aes-256", "ivgen_alg": "essiv", "hash_alg": "sha384"},
    {"cipher_alg": "serpent-128", "hash_alg": "sha224"},
    {"cipher_alg": "serpent-256", "cipher_mode": "cbc", "ivgen_alg": "essiv"},
    {"cipher_alg": "serpent-192"},
    {"cipher_alg": "serpent-256", "cipher_mode": "ctr"},
    {"cipher_alg": "twofish-256"},
    {"cipher_alg": "twofish-128", "cipher_mode": "cbc"},
    {"cipher_alg": "twofish-192", "hash_alg": "md5"},
    {"cipher_alg": "cast5-128", "cipher_mode": "cbc"},
]


def usable(algorithms: dict[str, str]) -> bool:
    """Whether this Python has the hash (ripemd160 and md5 depend on how OpenSSL was configured)."""
    try:
        luks.digest_size(algorithms.get("hash_alg", "sha256"))
    except BlockError:
        return False
    return True


@pytest.mark.parametrize("algorithms", ALGORITHMS, ids=lambda a: "-".join(a.values()) or "default")
def test_the_original_reads_ours(algorithms: dict[str, str], tmp_path: Path) -> None:
    """And we read what it writes: whole sectors and pieces of them."""
    if not usable(algorithms):
        with new_graph() as graph, pytest.raises(BlockError, match="not supported"):
            make(graph, tmp_path / "a", "luks", size=1 << 20, **algorithms)
        return
    with new_graph() as graph:
        make(graph, tmp_path / "a", "luks", size=1 << 20, **algorithms)
        node = open_image(graph, tmp_path / "a", "luks")
        node.write(0, b"\5" * 70000)
        node.write(70001, b"\6" * 777)
        node.write((1 << 20) - 512, b"\7" * 512)
    original_io(
        tmp_path / "a",
        "luks",
        "read -P 5 0 70000",
        "read -P 6 70001 777",
        "read -P 7 1048064 512",
        "write -P 8 300 5000",
        "write -P 9 512k 64k",
    )
    with new_graph() as graph:
        node = open_image(graph, tmp_path / "a", "luks", Settings())
        assert node.read(0, 70000) == b"\5" * 300 + b"\x08" * 5000 + b"\5" * (70000 - 5300)
        assert node.read(512 << 10, 65536) == b"\x09" * 65536


ORIGINAL = [
    "iter-time=10",
    "iter-time=10,cipher-alg=serpent-256",
    "iter-time=10,cipher-alg=twofish-256,cipher-mode=cbc,hash-alg=sha512",
    "iter-time=10,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,hash-alg=sha1",
    "iter-time=10,cipher-alg=aes-256,cipher-mode=ctr",
    "iter-time=10,cipher-alg=cast5-128,cipher-mode=cbc",
]


@pytest.mark.parametrize("options", [ORIGINAL[0], *(pytest.param(o, marks=pytest.mark.slow) for o in ORIGINAL[1:])])
@pytest.mark.parametrize("fmt", ["luks", "qcow2"])
def test_we_read_the_originals(fmt: str, options: str, tmp_path: Path) -> None:
    if fmt == "qcow2":
        options = "encrypt.format=luks,encrypt.key-secret=s0," + ",".join(f"encrypt.{o}" for o in options.split(","))
    else:
        options += ",key-secret=s0"
    original_make(tmp_path / "a", fmt, options)
    original_io(tmp_path / "a", fmt, "write -P 5 1000 100000")
    with new_graph() as graph:
        node = open_image(graph, tmp_path / "a", fmt)
        assert node.read(1000, 100000) == b"\5" * 100000
        node.write(2000, b"\6" * 500)
    original_io(tmp_path / "a", fmt, "read -P 5 1000 1000", "read -P 6 2000 500", "read -P 5 2500 98500")


QCOW2 = [
    {"format": "luks"},
    {"format": "luks", "compat": "0.10"},
    {"format": "luks", "cluster_size": "4k", "cipher_alg": "aes-128", "cipher_mode": "cbc", "ivgen_alg": "essiv"},
    {"format": "luks", "extended_l2": "on", "cipher_alg": "serpent-256"},
    {"format": "aes", "iter_time": None},
    {"format": "aes", "iter_time": None, "cluster_size": "512"},
]


@pytest.mark.parametrize("options", QCOW2, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_qcow2_both_ways(options: dict[str, Any], tmp_path: Path) -> None:
    with new_graph() as graph:
        make(graph, tmp_path / "a", "qcow2", size=4 << 20, **options)
        node = open_image(graph, tmp_path / "a", "qcow2")
        node.write(12345, b"\5" * 200000)
        node.create_snapshot("one")
        node.write(100000, b"\6" * 70000)
    original_io(tmp_path / "a", "qcow2", "read -P 5 12345 87655", "read -P 6 100000 70000", "write -P 7 3M 100k")
    with new_graph() as graph:
        node = open_image(graph, tmp_path / "a", "qcow2")
        assert node.read(3 << 20, 100 << 10) == b"\7" * (100 << 10)
        node.apply_snapshot(None, "one")
        assert node.read(12345, 200000) == b"\5" * 200000
        assert node.read(3 << 20, 100 << 10) == bytes(100 << 10)
        assert not node.check(False, False).corruptions
    key = "driver=qcow2,encrypt.key-secret=s0,file.filename="
    originals.run("qemu-img", "check", *OBJECT, "--image-opts", f"{key}{tmp_path / 'a'}")


@pytest.mark.parametrize("kind", ["luks", "aes"])
def test_encrypted_data_file(kind: str, tmp_path: Path) -> None:
    """LUKS numbers sectors by their place in the data file, and has its header in the other."""
    with new_graph() as graph:
        iter_time = "0" if kind == "luks" else None
        make(graph, tmp_path / "a", "qcow2", size=1 << 20, format=kind, iter_time=iter_time, data_file=str(tmp_path / "data"))
        open_image(graph, tmp_path / "a", "qcow2").write(12345, b"\5" * 200000)
    assert b"\5" * 16 not in (tmp_path / "data").read_bytes()
    original_io(tmp_path / "a", "qcow2", "read -P 5 12345 200000", "write -P 7 600k 100k")
    with new_graph() as graph:
        assert open_image(graph, tmp_path / "a", "qcow2").read(600 << 10, 100 << 10) == b"\7" * (100 << 10)


@pytest.mark.parametrize(("fmt", "options"), [("luks", {}), ("qcow2", {"format": "luks"}), ("qcow2", {"format": "aes", "iter_time": None})])
def test_against_a_flat_disk(fmt: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Random reads, writes, zeroes, discards and resizes do what they do to an array."""
    rng = random.Random(fmt + str(options))
    size = 1 << 20
    with new_graph() as graph:
        make(graph, tmp_path / "a", fmt, size=size, **options)
        node = open_image(graph, tmp_path / "a", fmt)
        model = bytearray(size)
        node.write_zeroes(0, size)
        for _ in range(400):
            pos = rng.randrange(size)
            length = min(rng.choice((1, 100, 512, 5000, 70000)), size - pos)
            action = rng.random()
            if action < 0.45:
                data = rng.randbytes(length)
                node.writev(pos, [data[: length // 3], data[length // 3 :]])
                model[pos : pos + length] = data
            elif action < 0.6:
                node.write_zeroes(pos, length)
                model[pos : pos + length] = bytes(length)
            elif action < 0.63:
                node.flush()
            elif action < 0.66:
                graph.close_node(node)
                node = open_image(graph, tmp_path / "a", fmt)
            elif action < 0.68:
                new = rng.randrange(512, 3 << 11) * 512
                node.resize(new)
                if new > size:
                    node.write_zeroes(size, new - size)
                model = model[:new].ljust(new, b"\0")
                size = new
            else:
                assert node.read(pos, length) == model[pos : pos + length]
        assert node.read(0, size) == model
    assert bytes(64) not in (tmp_path / "a").read_bytes()[-4096:] or fmt == "qcow2"


@pytest.mark.parametrize("algorithms", [{}, {"cipher_alg": "serpent-128"}, {"cipher_mode": "cbc", "ivgen_alg": "essiv"}])
def test_several_threads(algorithms: dict[str, str], tmp_path: Path) -> None:
    """Each writes and reads a part of its own, pieces of sectors included."""
    with new_graph() as graph:
        make(graph, tmp_path / "a", "luks", size=1 << 20, **algorithms)
        node = open_image(graph, tmp_path / "a", "luks")

        def work(number: int) -> bool:
            rng = random.Random(number)
            start, model = number * 128 << 10, bytearray(128 << 10)
            node.write(start, model)
            for _ in range(30):
                pos = rng.randrange(len(model))
                data = rng.randbytes(min(rng.choice((3, 512, 9000)), len(model) - pos))
                node.write(start + pos, data)
                model[pos : pos + len(data)] = data
            return bool(node.read(start, len(model)) == model)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))


CRYPTSETUP = [
    ("aes-xts-plain64", "256", "sha256"),
    ("aes-xts-plain64", "512", "sha1"),
    ("aes-cbc-plain64", "256", "sha512"),
    ("aes-cbc-essiv:sha256", "128", "sha1"),
    ("aes-cbc-plain", "256", "ripemd160"),
    ("aes-cbc-plain64", "192", "sha256"),
]


@pytest.mark.parametrize(("cipher", "bits", "hash_name"), CRYPTSETUP)
def test_cryptsetups_images(cipher: str, bits: str, hash_name: str, tmp_path: Path) -> None:
    """The master key is the one cryptsetup prints; slots it adds open, slots it kills do not, ours it opens."""
    name, key = tmp_path / "a", tmp_path / "key"
    key.write_text("hunter2")
    (tmp_path / "other").write_text("other")
    with open(name, "wb") as file:
        file.truncate(4 << 20)
    force = ("-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-file", key)
    done = cryptsetup("luksFormat", *force, "-c", cipher, "-s", bits, "-h", hash_name, name)
    assert done.returncode == 0, done.stderr
    if not usable({"hash_alg": hash_name}):
        return
    dump = cryptsetup("luksDump", "-q", "--dump-volume-key", "--key-file", key, name).stdout
    printed = bytes.fromhex("".join(dump.partition("MK dump:")[2].split()))
    with new_graph({"qom-type": "secret", "id": "s1", "data": "other"}) as graph:
        node = open_image(graph, name, "luks")
        assert node.luks.unlock(bytearray(b"hunter2")) == printed
        with pytest.raises(BlockError, match="Invalid password"):
            node.luks.unlock(bytearray(b"hunter3"))
        node.amend(AmendOptions({"state": "active", "new-secret": "s1", "iter-time": "0", "keyslot": "4"}), False, None)
    assert cryptsetup("luksOpen", "--test-passphrase", "--key-file", tmp_path / "other", "--key-slot", "4", name).returncode == 0
    assert cryptsetup("luksKillSlot", "-q", "--key-file", tmp_path / "other", name, "0").returncode == 0
    with new_graph({"qom-type": "secret", "id": "s1", "data": "other"}) as graph:
        with pytest.raises(BlockError, match="Invalid password"):
            open_image(graph, name, "luks")
        assert graph.open(str(name), "luks", WRITE, {"key-secret": "s1"}).luks.slots[0].state == luks.INACTIVE
    added = cryptsetup("luksAddKey", *force[3:5], "--key-file", tmp_path / "other", name, key)
    assert added.returncode == 0, added.stderr
    with new_graph() as graph:
        open_image(graph, name, "luks").write(0, b"x" * 1000)


def test_detached_header(tmp_path: Path) -> None:
    """Ours for cryptsetup, and cryptsetup's for us."""
    header, data, key = tmp_path / "header", tmp_path / "data", tmp_path / "key"
    key.write_text("hunter2")
    with new_graph() as graph:
        make(graph, header, "luks", size=0, detached_header="on")
        data.write_bytes(os.urandom(1 << 20))
        node = open_image(graph, data, "luks", **{"header.filename": str(header)})
        assert node.size == 1 << 20 and node.info()["detached-header"] is True
        node.write(0, b"\5" * 4096)
        assert node.info()["payload-offset"] == 0
        node.resize(2 << 20)
        assert data.stat().st_size == 2 << 20
        stored = node.luks.algorithms.sectors(node.luks.unlock(bytearray(b"hunter2"))).encrypt(0, b"\5" * 4096)
    assert data.read_bytes()[:4096] == stored
    assert cryptsetup("luksOpen", "--test-passphrase", "--header", header, "--key-file", key, data).returncode == 0
    (tmp_path / "theirs").write_bytes(bytes(4 << 20))
    force = ("-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-file", key)
    assert cryptsetup("luksFormat", *force, "--header", tmp_path / "theirs", data).returncode == 0
    with new_graph() as graph:
        node = open_image(graph, data, "luks", **{"header.filename": str(tmp_path / "theirs")})
        node.write(5000, b"z" * 100)
        assert node.read(5000, 100) == b"z" * 100 and node.size + node.start == 2 << 20


def test_passphrases_from_the_keyring(tmp_path: Path) -> None:
    """Where the kernel lets this process have keys; else the refusal is told."""
    with new_graph() as graph:
        make(graph, tmp_path / "a", "luks", size=65536)
    keyctl = originals.tool("keyctl")
    added = subprocess.run([*keyctl, "add", "user", f"tinamou:{os.getpid()}", "hunter2", "@u"], capture_output=True, text=True)
    if added.returncode:
        with Graph() as graph, pytest.raises(BlockError, match="Unable to read serial key 00000001: "):
            graph.add_object({"qom-type": "secret_keyring", "id": "s0", "serial": "1"})
        return
    serial = added.stdout.strip()
    try:
        subprocess.run([*keyctl, "setperm", serial, "0x3f3f0000"], check=True)
        with Graph() as graph:
            graph.add_object({"qom-type": "secret_keyring", "id": "s0", "serial": serial})
            assert graph.secret("s0") == b"hunter2"
            open_image(graph, tmp_path / "a", "luks")
            graph.add_object({"qom-type": "secret_keyring", "id": "s1", "serial": hex(int(serial))})
            kept = graph.secret("s0")
        assert kept == bytes(7)
        options = f"driver=luks,file.filename={tmp_path / 'a'},key-secret=s0"
        originals.run("qemu-io", "--object", f"secret_keyring,id=s0,serial={serial}", "--image-opts", options, "-c", "length")
    finally:
        subprocess.run([*keyctl, "unlink", serial, "@u"], capture_output=True)


def test_secrets_are_wiped_with_the_graph() -> None:
    graph = new_graph()
    kept = graph.secret("s0")
    assert kept == b"hunter2"
    graph.close()
    assert kept == bytes(7)


def test_a_failed_amend_changes_nothing(tmp_path: Path) -> None:
    with new_graph() as graph:
        make(graph, tmp_path / "a", "luks", size=65536)
        node = open_image(graph, tmp_path / "a", "luks")
        before = (tmp_path / "a").read_bytes()
        for values in (
            {"state": "inactive", "keyslot": "0"},
            {"state": "inactive", "old-secret": "s0"},
            {"state": "active", "new-secret": "s0", "keyslot": "0"},
            {"state": "active", "new-secret": "nosuch"},
            {"state": "active", "new-secret": "s0", "keyslot": "8"},
        ):
            with pytest.raises(BlockError):
                node.amend(AmendOptions(values), False, None)
        assert (tmp_path / "a").read_bytes() == before


def test_erased_slots_leave_nothing(tmp_path: Path) -> None:
    """Neither salt nor key material of an erased slot stays."""
    with new_graph({"qom-type": "secret", "id": "s1", "data": "other"}) as graph:
        make(graph, tmp_path / "a", "luks", size=65536)
        node = open_image(graph, tmp_path / "a", "luks")
        node.amend(AmendOptions({"state": "active", "new-secret": "s1", "iter-time": "0"}), False, None)
        slot = node.luks.slots[1]
        at, length = slot.offset * 512, node.luks.algorithms.material_bytes
        before, salt = (tmp_path / "a").read_bytes(), slot.salt
        node.amend(AmendOptions({"state": "inactive", "old-secret": "s1"}), False, None)
    after = (tmp_path / "a").read_bytes()
    assert salt in before and salt not in after
    assert all(before[i : i + 512] != after[i : i + 512] for i in range(at, at + length, 512))
    assert after[: HEADER_BYTES - 48 * 7] == before[: HEADER_BYTES - 48 * 7]


@pytest.mark.parametrize(
    ("values", "forced"),
    [
        ({"state": "active", "new-secret": "s1", "iter-time": "0"}, False),
        ({"state": "inactive", "old-secret": "s1"}, False),
        ({"state": "inactive", "keyslot": "1"}, False),
        ({"state": "active", "new-secret": "s1", "iter-time": "0", "keyslot": "1"}, True),
    ],
)
def test_an_amend_cut_at_any_write(values: dict[str, str], forced: bool) -> None:
    """After every single write the disk still opens with the passphrase whose slot was not meant."""
    with new_graph({"qom-type": "secret", "id": "s1", "data": "other"}) as graph:
        node = open_memory(graph, small_image(), Settings(write=True))
        node.amend(AmendOptions({"state": "active", "new-secret": "s1", "iter-time": "0"}), False, lambda *_: None)
        before = bytes(node.file.data)
        node.file.log.clear()
        node.amend(AmendOptions(values), forced, lambda *_: None)
        log = list(node.file.log)
        graph.close_node(node)
        assert len([c for c in log if c[0] != "flush"]) >= 2
        for count in range(len(log) + 1):
            data = bytearray(before)
            for change in log[:count]:
                apply(data, change)
            graph.close_node(open_memory(graph, bytes(data), Settings()))


# Hostile headers


def small_image(fmt: str = "luks") -> bytes:
    Memory.contents = b""
    with new_graph() as graph:
        file = graph.open_options({"driver": "test-memory"}, Settings(write=True))
        from tinamou.block.formats.luks import LuksDisk
        from tinamou.block.formats.qcow2 import Qcow2

        some = {"cipher-alg": "aes-128", "cipher-mode": "cbc", "ivgen-alg": "essiv", "iter-time": "0", "key-secret": "s0"}
        if fmt == "luks":
            LuksDisk.create(graph, file, LuksDisk.Create({"size": 65536, **some}))
        else:
            values = {"size": 65536, "cluster_size": "4k", "encrypt.format": "luks", **{f"encrypt.{k}": v for k, v in some.items()}}
            Qcow2.create(graph, file, Qcow2.Create(values))
        return bytes(file.data)  # type: ignore[attr-defined]


def open_memory(graph: Graph, contents: bytes, settings: Settings, fmt: str = "luks") -> Any:
    Memory.contents = contents
    key = "encrypt.key-secret" if fmt == "qcow2" else "key-secret"
    return graph.open_options({"driver": fmt, "file": {"driver": "test-memory"}, key: "s0"}, settings)


FIELDS = [
    ("magic", b"XXXXXX", "Volume is not in LUKS format"),
    ("version", 2, "LUKS version 2 is not supported"),
    ("cipher", b"foo".ljust(32, b"\0"), "Algorithm 'foo' with key size 16 bytes not supported"),
    ("cipher", b"a" * 32, "LUKS header cipher name is not NUL terminated"),
    ("mode", b"a" * 32, "LUKS header cipher mode is not NUL terminated"),
    ("mode", b"cbc".ljust(32, b"\0"), "Unexpected cipher mode string format 'cbc'"),
    ("mode", b"foo-plain".ljust(32, b"\0"), "Cipher mode 'foo' not supported"),
    ("mode", b"cbc-foo".ljust(32, b"\0"), "IV generator 'foo' not supported"),
    ("mode", b"cbc-essiv".ljust(32, b"\0"), "Missing IV generator hash specification"),
    ("mode", b"cbc-essiv:foo".ljust(32, b"\0"), "Hash algorithm 'foo' not supported"),
    ("mode", b"cbc-essiv:sha512".ljust(32, b"\0"), "No AES cipher with key size 64 available"),
    ("hash", b"a" * 32, "LUKS header hash spec is not NUL terminated"),
    ("hash", b"foo".ljust(32, b"\0"), "Hash algorithm 'foo' not supported"),
    ("payload", 0, "LUKS payload is overlapping with the header"),
    ("payload", 7, "LUKS payload is overlapping with the header"),
    ("payload", 100, "Keyslot 0 is overlapping with the encrypted payload"),
    ("payload", 0xFFFFFFFF, "Could not refresh total sector count"),
    ("key_bytes", 0, "Algorithm 'aes' with key size 0 bytes not supported"),
    ("key_bytes", 15, "Algorithm 'aes' with key size 15 bytes not supported"),
    ("key_bytes", 17, "Keyslots 0 and 1 are overlapping in the header"),
    ("key_bytes", 0xFFFFFFFF, "Keyslot 0 is overlapping with the encrypted payload"),
    ("digest_iterations", 0, "LUKS key iteration count is zero"),
    ("digest_iterations", 0xFFFFFFFF, "^$|The master key digest has 4294967295 iterations, more than"),
    (0, ("state", 5), r"Keyslot 0 state \(active/disable\) is corrupted"),
    (0, ("iterations", 0), "Keyslot 0 iteration count is zero"),
    (0, ("iterations", 0xFFFFFFFF), "^$|Keyslot 0 has 4294967295 iterations, more than"),
    (0, ("offset", 0), "Keyslot 0 is overlapping with the LUKS header"),
    (0, ("offset", 7), "Keyslot 0 is overlapping with the LUKS header"),
    (0, ("offset", 1000), "Keyslot 0 is overlapping with the encrypted payload"),
    (0, ("offset", 0xFFFFFFF0), "Keyslot 0 is overlapping with the encrypted payload"),
    (1, ("offset", 9), "Keyslots 0 and 1 are overlapping in the header"),
    (1, ("state", luks.ACTIVE), "Keyslot 1 iteration count is zero"),
    (0, ("stripes", 0), r"Keyslot 0 is corrupted \(stripes 0 != 4000\)"),
    (1, ("stripes", 0xFFFFFFFF), r"Keyslot 1 is corrupted \(stripes -1 != 4000\)"),
]


@pytest.mark.parametrize("no_io", [True, False])
@pytest.mark.parametrize(("field", "value", "message"), FIELDS)
def test_absurd_fields(field: str | int, value: Any, message: str, no_io: bool) -> None:
    """The sentence of the original (`^$|`: only with a passphrase), quickly and without much memory."""
    contents = bytearray(small_image())
    if isinstance(field, int):
        at = Header.packed_size + field * Slot.packed_size
        slot = Slot.unpack(contents, at)
        setattr(slot, *value)
        contents[at : at + Slot.packed_size] = slot.pack()
    else:
        header = Header.unpack(contents)
        setattr(header, field, value)
        contents[: Header.packed_size] = header.pack()
    tracemalloc.start()
    try:
        with new_graph() as graph:
            if no_io and message.startswith("^$"):
                open_memory(graph, bytes(contents), Settings(no_io=True))
                return
            with pytest.raises(BlockError, match=message):
                open_memory(graph, bytes(contents), Settings(no_io=no_io))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


QCOW2_POINTER = [
    (0, 7, "Encryption header offset '7' is not a multiple of cluster size '4096'"),
    (0, 1 << 62, "Volume is not in LUKS format"),
    (8, 0, "Request for data outside of extension header"),
    (8, 100, "Request for data outside of extension header"),
    (8, 5000, "Request for data outside of extension header"),
]


@pytest.mark.parametrize(("at", "value", "message"), QCOW2_POINTER)
def test_absurd_pointers_in_qcow2(at: int, value: int, message: str) -> None:
    contents = bytearray(small_image("qcow2"))
    pointer = contents.index(bytes.fromhex("0537be7700000010")) + 8
    contents[pointer + at : pointer + at + 8] = value.to_bytes(8, "big")
    with new_graph() as graph, pytest.raises(BlockError, match=re.escape(message)):
        open_memory(graph, bytes(contents), Settings(), "qcow2")


def test_truncated_files() -> None:
    contents = small_image()
    for length in (0, 1, 7, 8, 100, 207, 208, 591, 592, 4095, 4096, 20000, 500000, len(contents) - 66000):
        with new_graph() as graph, pytest.raises(BlockError):
            open_memory(graph, contents[:length], Settings())
    with new_graph() as graph:
        assert open_memory(graph, contents[: -65536 + 100], Settings()).size == 512


def mutate(contents: bytes, rng: random.Random, where: tuple[int, ...]) -> bytes:
    data = bytearray(contents)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        start = rng.choice(where)
        at = start + rng.randrange(HEADER_BYTES if rng.random() < 0.95 else 8192)
        at = min(at, len(data) - 1)
        how = rng.random()
        if how < 0.4:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif how < 0.7:
            data[at] ^= 1 << rng.randrange(8)
        else:
            end = min(at + rng.choice((2, 4, 8)), len(data))
            data[at:end] = rng.randbytes(end - at)
    if rng.random() < 0.03:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def fuzz(fmt: str, rounds: int) -> None:
    """Open with and without the passphrase, look, read: `BlockError` or `OSError`, nothing else, at once."""
    contents = small_image(fmt)
    pointer = contents.find(bytes.fromhex("0537be7700000010"))
    where = (0,) if fmt == "luks" else (0, pointer, int.from_bytes(contents[pointer + 8 : pointer + 16], "big"))
    rng = random.Random(fmt)
    with new_graph() as graph:
        for number in range(rounds):
            broken = mutate(contents, rng, where)
            began = time.process_time()
            node = None
            try:
                node = open_memory(graph, broken, Settings(no_io=number % 8 != 0), fmt)
                node.info()
                if number % 8 == 0 and node.size >= 4096:
                    status(node, 0, 4096)
                    node.read(100, 3000)
            except (BlockError, OSError):
                pass
            except Exception as error:
                raise AssertionError(f"mutation {number}: {error!r}") from error
            finally:
                for name in list(graph.nodes):
                    if name in graph.nodes:
                        graph.close_node(graph.nodes[name])
            assert time.process_time() - began < 1, f"mutation {number} took {time.process_time() - began:.1f} s of processor time"


@pytest.mark.parametrize("fmt", ["luks", "qcow2"])
def test_mutated_headers(fmt: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(luks, "MAX_ITERATIONS", 5000)
    fuzz(fmt, 1000)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fmt", ["luks", "qcow2"])
def test_many_mutated_headers(fmt: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(luks, "MAX_ITERATIONS", 5000)
    fuzz(fmt, 200000)


def test_load_keeps_what_create_wrote() -> None:
    """Every field survives: the header read back packs to the same bytes."""
    contents = small_image()
    with new_graph() as graph:
        node = open_memory(graph, contents, Settings())
        made: Luks = node.luks
        assert made.header.pack() + b"".join(slot.pack() for slot in made.slots) == contents[:HEADER_BYTES]
        assert made.algorithms.mode_text == "cbc-essiv:sha256" and made.algorithms.name == "aes-128"
