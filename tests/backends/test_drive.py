import pytest

from tinamou.backends.drive import open_drive
from tinamou.block.graph import Graph, create, create_class
from tinamou.machine.props import PropertyError


def image(tmp_path, content=b"hello" * 2000):
    path = tmp_path / "disk.img"
    path.write_bytes(content.ljust(16384, b"\0"))
    return str(path)


def test_reads_and_writes_go_to_the_image(tmp_path):
    path = image(tmp_path)
    d = open_drive({"file": path, "format": "raw", "if": "virtio"}, [])
    assert (d.id, d.interface, d.index, d.size, d.format, d.readonly) == ("virtio0", "virtio", 0, 16384, "raw", False)
    a, b = bytearray(3), bytearray(4)
    d.read_into(1, [memoryview(a), memoryview(b)])
    assert (a, b) == (b"ell", b"ohel")
    d.write_from(0, [memoryview(b"AB"), memoryview(b"CD")])
    d.write_zeroes(8, 4)
    d.flush()
    d.close()
    assert open(path, "rb").read(12) == b"ABCDohel\0\0\0\0"


def test_numbers_and_names(tmp_path):
    path = image(tmp_path)
    a = open_drive({"file": path, "format": "raw", "if": "pflash", "readonly": "on"}, [])
    b = open_drive({"if": "pflash", "unit": "1", "id": "vars"}, [a])
    assert (a.index, a.id, a.readonly, b.index, b.id, b.size) == (0, "pflash0", True, 1, "vars", 0)
    with pytest.raises(OSError):
        b.read_into(0, [memoryview(bytearray(1))])
    assert open_drive({"if": "ide", "media": "cdrom", "index": "2"}, []).id == "ide1-cd0"


@pytest.mark.parametrize("options,message", [
    ({"if": "foo"}, "unsupported bus type 'foo'"), ({"file": "/nonexistent"}, "Could not open '/nonexistent'"),
    ({"media": "x"}, "'x' invalid media"), ({"cache": "foo"}, "invalid cache option"),
    ({"werror": "x"}, "'x' invalid write error action"), ({"rerror": "enospc"}, "'enospc' invalid read error action"),
    ({"index": "1", "unit": "1"}, "index cannot be used with bus and unit"), ({"index": "x"}, "expects a number"),
    ({"readonly": "maybe"}, "Parameter 'readonly' expects 'on' or 'off'"),
    ({"filee": "x"}, "does not support the option 'filee'")])
def test_mistakes(options, message):
    with pytest.raises(PropertyError, match=message):
        open_drive(options, [])


def test_two_at_one_place():
    taken = [open_drive({"if": "virtio", "index": "3"}, [])]
    with pytest.raises(PropertyError, match=r"drive with bus=0, unit=3 \(index=3\) exists"):
        open_drive({"if": "virtio", "index": "3"}, taken)
    with pytest.raises(PropertyError, match="Duplicate ID"):
        open_drive({"id": "virtio3"}, taken)


def test_snapshot_leaves_the_image_alone(tmp_path):
    path = image(tmp_path)
    before = open(path, "rb").read()
    d = open_drive({"file": path, "format": "raw"}, [], snapshot=True)
    d.write_from(100, [memoryview(b"changed")])
    out = bytearray(10)
    d.read_into(98, [memoryview(out)])
    d.close()
    assert out[2:9] == b"changed" and out[:2] == before[98:100] and open(path, "rb").read() == before


@pytest.mark.parametrize(("fmt", "prefix"), [("luks", ""), ("qcow2", "encrypt.")])
@pytest.mark.parametrize("snapshot", [False, True])
def test_encrypted(tmp_path, fmt, prefix, snapshot):
    """The secret is named by the format's option; with -snapshot the base stays as it is."""
    path = str(tmp_path / "disk")
    graph = Graph()
    graph.add_object({"qom-type": "secret", "id": "s0", "data": "hunter2"})
    values = {"size": 65536, f"{prefix}key-secret": "s0", f"{prefix}iter-time": "0"} | ({"encrypt.format": "luks"} if prefix else {})
    create(graph, path, fmt, create_class(fmt, path)(values))
    before = open(path, "rb").read()
    options = {"file": path, "format": fmt, f"{prefix}key-secret": "s0"}
    d = open_drive(options, [], snapshot=snapshot, graph=graph)
    assert d.size == 65536
    d.write_from(100, [memoryview(b"words")])
    out = bytearray(5)
    d.read_into(100, [memoryview(out)])
    assert out == b"words"
    d.close()
    after = open(path, "rb").read()
    assert (after == before) == snapshot and b"words" not in after
    with pytest.raises(PropertyError, match="key-secret' is required"):
        open_drive({"file": path, "format": fmt}, [])
