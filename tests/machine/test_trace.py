import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinamou.machine.machine import Machine
from tinamou.machine.props import PropertyError
from tinamou.machine.trace import Trace, VcdFile, _code, page, svg


def parse_vcd(text):
    """{full name: (width, [(time, value)])}: IEEE 1364-2005, 18.2, strictly."""
    head, _, body = text.partition("$enddefinitions $end\n")
    scope, codes, out = [], {}, {}
    for words in (s.split() for s in head.replace("\n", " ").split("$end") if s.strip()):
        if words[0] == "$scope":
            assert words[1] == "module"
            scope.append(words[2])
        elif words[0] == "$upscope":
            scope.pop()
        elif words[0] == "$var":
            name = ".".join([*scope, words[4]])
            assert words[3] not in codes and name not in out and re.fullmatch("[!-~]+", words[3])
            assert (words[1], int(words[2])) == ("wire", 1) or (words[1] == "reg" and words[5] == f"[{int(words[2]) - 1}:0]")
            codes[words[3]] = out[name] = int(words[2]), []
        else:
            assert words[0] in ("$version", "$comment", "$timescale", "$date")
    assert not scope
    now, last = None, -1
    for line in body.splitlines():
        if line.startswith("#"):
            now = int(line[1:])
            assert now > last
            last = now
        elif line.startswith("b"):
            bits, code = line[1:].split(" ")
            width, changes = codes[code]
            assert len(bits) <= width
            changes.append((now, bits if bits == "x" else int(bits, 2)))
        elif not line.startswith("$"):
            width, changes = codes[line[1:]]
            assert width == 1
            changes.append((now, int(line[0])))
    return out


@pytest.fixture
def m():
    machine = Machine("bench")
    for n in range(100):
        machine.pins.add(f"D{n}")
    return machine


def test_vcd(m, tmp_path):
    trace = Trace(m).pins()
    path = tmp_path / "out.vcd"
    with VcdFile(str(path), trace):
        for n in (3, 99, 3):
            m.time.advance(1000)
            m.pins[f"D{n}"].drive(not m.pins[f"D{n}"].level)
        m.time.advance(500)
    signals = parse_vcd(path.read_text())
    assert len(signals) == 100
    assert signals["board.D3"] == (1, [(0, 0), (1000, 1), (3000, 0)]) and signals["board.D99"] == (1, [(0, 0), (2000, 1)])
    assert path.read_text().rstrip().endswith("#3500")


@given(st.integers(0, 100_000), st.integers(0, 100_000))
def test_codes_differ(a, b):
    assert (_code(a) == _code(b)) == (a == b)


def test_pictures(m):
    trace = Trace(m).pins("D1", "D2")
    for _ in range(5):
        m.time.advance(1_000_000)
        m.pins["D1"].drive(not m.pins["D1"].level)
    root = ET.fromstring(svg(trace))
    paths = [e.get("d") for e in root.iter("{http://www.w3.org/2000/svg}path")]
    assert len(paths) == 2 and paths[0].count("V") == 5 and paths[1].count("V") == 0
    text = page(trace, {"Serial port": "a < b"})
    assert "a &lt; b" in text and "<svg" in text and "D2" in text


def test_unknown_names(m):
    with pytest.raises(PropertyError, match="no pin or bus 'E1' to trace") as e:
        Trace(m).choose(["E1"])
    assert "D1" in e.value.hint


def test_limit_and_stop(m):
    trace = Trace(m, limit=3).pins("D0")
    for n in range(10):
        m.pins["D0"].drive(not n & 1)
    assert len(trace.signals["D0"].changes) == 3
    trace.stop()
    assert not m.pins["D0"].net.watched
