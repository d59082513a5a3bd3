import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.firmware.fdt import FdtError, Node, Tree, cells64


def sample() -> Tree:
    t = Tree()
    t.reserved.append((0x8000_0000, 0x1000))
    t.root["compatible"] = ["vendor,board", "generic"]
    t.root["#address-cells"] = 2
    soc = t.root.add("soc", ranges=True)
    uart = soc.add("serial@10000000", compatible="ns16550a", reg=cells64(0x1000_0000, 0x100), interrupts=[10])
    t.phandle("uart", uart)
    uart["local-mac-address"] = bytes(range(6))
    return t


def test_read_back():
    t = Tree.unpack(sample().pack())
    uart = t.find("/soc/serial")
    assert uart and uart.text("compatible") == "ns16550a" and uart.cells("reg") == [0, 0x1000_0000, 0, 0x100]
    assert t.reserved == [(0x8000_0000, 0x1000)] and t.root.texts("compatible") == ["vendor,board", "generic"]
    assert t.pack() == sample().pack()


@pytest.mark.skipif(not shutil.which("dtc"), reason="compared with dtc where it is installed")
def test_dtc_agrees_both_ways(tmp_path):
    t = sample()
    (tmp_path / "a.dtb").write_bytes(t.pack())
    (tmp_path / "a.dts").write_text(t.dts())
    made = subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", tmp_path / "a.dts"], capture_output=True, check=True).stdout
    assert Tree.unpack(made).root == t.root
    text = subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dts", "-s", tmp_path / "a.dtb"], capture_output=True, check=True)
    again = subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb"], input=text.stdout, capture_output=True, check=True).stdout
    assert {p: n.props for p, n in Tree.unpack(again).root.walk()} == {p: n.props for p, n in t.root.walk()}


names = st.text("abcdefghijklmnopqrstuvwxyz-,#0123456789", min_size=1, max_size=20)
values = st.one_of(st.binary(max_size=40), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**32 - 1), max_size=6))
nodes = st.recursive(
    st.builds(lambda p: (p, {}), st.dictionaries(names, values, max_size=4)),
    lambda inner: st.builds(lambda p, c: (p, c), st.dictionaries(names, values, max_size=3),
                            st.dictionaries(names, inner, max_size=3)), max_leaves=8)


def grow(node: Node, shape) -> None:
    for key, value in shape[0].items():
        node[key] = value
    for name, inner in shape[1].items():
        grow(node.add(name), inner)


@settings(deadline=None)
@given(nodes, st.integers(0, 2000))
def test_any_tree_survives(shape, extra):
    t = Tree()
    grow(t.root, shape)
    data = t.pack()
    again = Tree.unpack(t.pack(len(data) + extra))
    assert again.root == t.root and again.pack() == data


@settings(deadline=None)
@given(st.data())
def test_damage_is_one_clear_error(data):
    raw = bytearray(sample().pack())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        Tree.unpack(bytes(raw))
    except FdtError:
        pass


def test_too_small_a_size_is_refused():
    with pytest.raises(FdtError, match="more than 64"):
        sample().pack(64)
