import pytest

from control.vm_harness import Qmp, make
from tinamou.backends.drive import open_drive
from tinamou.control.hmp import Human


@pytest.fixture
def q(tmp_path):
    path = tmp_path / "d.img"
    path.write_bytes(bytes(1 << 20))
    vm = make()
    vm.drives["d0"] = open_drive({"file": str(path), "format": "raw", "id": "d0"}, [])
    vm.plug({"driver": "virtio-blk-pci", "drive": "d0", "id": "disk"})
    talk = Qmp(vm)
    talk.vm, talk.path = vm, path
    return talk


def test_drives_are_listed(q):
    row, = q.ask("query-block")["return"]
    assert (row["device"], row["io-status"], row["removable"], row["type"]) == ("d0", "ok", False, "unknown")
    inserted = row["inserted"]
    assert inserted["file"] == str(q.path) and inserted["drv"] == "raw" and inserted["ro"] is False
    assert set(inserted) == {"file", "ro", "drv", "node-name", "backing_file_depth", "encrypted", "detect_zeroes", "bps", "bps_rd",
                             "bps_wr", "iops", "iops_rd", "iops_wr", "image", "cache", "write_threshold"}  # fmt: skip
    assert q.ask("query-named-block-nodes")["return"] == [inserted]
    assert inserted["image"]["virtual-size"] == 1 << 20 and inserted["cache"] == {"writeback": True, "direct": False, "no-flush": False}


def test_the_monitor_lists_them(q):
    node = q.ask("query-named-block-nodes")["return"][0]["node-name"]
    human = Human(q.vm)
    attached = q.ask("query-block")["return"][0]["qdev"]
    assert human.run("info block") == (
        f"d0 ({node}): {q.path} (raw)\n    Attached to:      {attached}\n    Cache mode:       writeback\n"
    )
    assert human.run("info block -n") == f"{node}: {q.path} (raw)\n    Cache mode:       writeback\n"
    assert "\nImages:\nimage: " in human.run("info block -v d0")
    assert human.run("info block zz") == "Device 'zz' not found\n"
    q.vm.drives["cd"] = open_drive({"id": "cd", "media": "cdrom"}, [])
    q.vm.drives["ro"] = open_drive({"file": str(q.path), "format": "raw", "id": "ro", "readonly": "on", "cache": "none", "if": "none",
                                    "force-share": "on"}, [])  # fmt: skip
    empty, read_only = human.run("info block cd"), human.run("info block ro")
    assert empty == "cd: [not inserted]\n    Removable device: not locked, tray closed\n"
    assert "(raw, read-only)\n" in read_only and "    Cache mode:       writeback, direct\n" in read_only


def test_nodes_come_and_go(q, tmp_path):
    other = tmp_path / "o.img"
    other.write_bytes(bytes(4096))
    node = {"driver": "raw", "node-name": "n0", "file": {"driver": "file", "filename": str(other)}}
    assert q.ask("blockdev-add", node) == {"return": {}}
    assert q.error("blockdev-add", node)[1] == "Duplicate nodes with node-name='n0'"
    assert q.ask("query-named-block-nodes")["return"][0]["node-name"] == "n0"
    q.vm.plug({"driver": "virtio-blk-device", "drive": "n0", "id": "b"})
    assert q.error("blockdev-del", {"node-name": "n0"})[1] == "Node n0 is in use"
    assert q.error("blockdev-del", {"node-name": "zz"})[1] == "Failed to find node with node-name='zz'"
    assert q.error("blockdev-add", {"driver": "foo", "node-name": "x"})[1] == "Parameter 'driver' does not accept value 'foo'"
    assert "No such file" in q.error("blockdev-add", {"driver": "file", "node-name": "x", "filename": "/nonexistent"})[1]


def test_a_disk_grows_under_the_guest(q):
    disk = q.vm.machine.find_device("disk").virtio
    disk.status = 4
    assert q.ask("block_resize", {"device": "d0", "size": 1 << 21}) == {"return": {}}
    assert int.from_bytes(disk.config()[:8], "little") == (1 << 21) // 512 and disk.generation == 1
    assert q.error("block_resize", {"device": "zz", "size": 1})[1] == "Cannot find device='zz' nor node-name=''"
