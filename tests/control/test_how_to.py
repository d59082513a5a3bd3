"""The code in the guides runs as it is printed."""

import re
import sys
import types
from pathlib import Path

import pytest

from tinamou.control import hmp, qmp
from tinamou.machine import board

DOCS = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.mark.parametrize("name", ["add-a-device", "add-a-board", "add-a-qmp-command"])
def test_the_guide_runs(name):
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{name}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    module = types.ModuleType(f"guide_{name.replace('-', '_')}")
    sys.modules[module.__name__] = module
    board.discover()  # else boards that the guide imports would be lost to other tests
    before = dict(board.BOARDS), dict(qmp.COMMANDS), dict(hmp.COMMANDS)
    try:
        for block in blocks:
            exec(compile(block, f"{name}.md", "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
        for table, kept in zip((board.BOARDS, qmp.COMMANDS, hmp.COMMANDS), before, strict=True):
            table.clear()
            table.update(kept)
