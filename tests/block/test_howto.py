"""The format of docs/how-to/add-an-image-format.md, as printed there: created, written, converted, mapped, compared."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph, all_drivers
from tinamou.block.node import Node, Settings, status
from tinamou.tools.img import main

GUIDE = Path(__file__).parents[2] / "docs/how-to/add-an-image-format.md"


@pytest.fixture(autouse=True)
def slab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    assert found is not None
    module = types.ModuleType("slab_of_the_guide")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Node, "drivers", dict(all_drivers()))
    exec(compile(found.group(1), str(GUIDE), "exec"), module.__dict__)
    monkeypatch.chdir(tmp_path)


def test_the_guide_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "-q", "-f", "slab", "a.slab", "5M"]) == 0
    data = bytes(range(256)) * 600
    with Graph() as graph:
        node = graph.open("a.slab", settings=Settings(write=True))
        assert node.driver == "slab" and node.size == 5 << 20
        node.write(100000, data)
        node.write(4 << 20, b"end")
    with Graph() as graph:
        node = graph.open("a.slab")
        assert node.read(100000, len(data)) == data and node.read(0, 100) == bytes(100)
        assert status(node, 0, 65536).zero and not status(node, 4 << 20, 1).zero
    assert main(["convert", "-O", "qcow2", "a.slab", "a.qcow2"]) == 0
    assert main(["convert", "-O", "slab", "a.qcow2", "b.slab"]) == 0
    assert main(["compare", "-q", "a.slab", "b.slab"]) == 0
    assert main(["info", "b.slab"]) == 0
    assert "file format: slab" in capsys.readouterr().out


def test_the_guide_refuses_nonsense() -> None:
    Path("bad.slab").write_bytes(b"SLAB" + b"\xff" * 12)
    with Graph() as graph, pytest.raises(BlockError, match="does not fit into the file"):
        graph.open("bad.slab")
