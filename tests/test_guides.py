"""The guides are true: the Python in them runs, from top to bottom, each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
TESTS = Path(__file__).parent

# What a guide's text says besides, before and after its Python.
BEFORE = {
    "how-to/add-an-instruction.md": """
import functools
from tinamou.isa.riscv import models
models.NAMED = (*models.NAMED, "zicond")
for (xlen, name), model in list(models.MODELS.items()):
    if name == "max":
        models.MODELS[xlen, name] = models.Model(name, xlen, model.isa + "_zicond")
""",
}
AFTER = {
    "how-to/add-an-instruction.md": """
from riscv_harness import ENGINES
kinds = {kind.name: kind for kind in ENGINES}
for kind in ("golden", "interpreter"):
    test_zicond(kinds[kind](64))
test_zicond(kinds["golden"](32))
""",
}


def program(guide: Path) -> str:
    name = str(guide.relative_to(DOCS))
    blocks = re.findall(r"^```python\n(.*?)^```", guide.read_text(), re.M | re.S)
    assert blocks
    return "\n\n".join([BEFORE.get(name, ""), *blocks, AFTER.get(name, "")])


GUIDES = ("add-an-instruction", "add-an-architecture", "use-from-python", "ship-a-plug-in", "use-microcontroller-boards")


@pytest.mark.parametrize("name", [*(f"how-to/{g}.md" for g in GUIDES), "native.md", "engine.md"])
def test_guide(name: str, tmp_path: Path) -> None:
    file = tmp_path / "guide.py"
    file.write_text(program(DOCS / name))
    env = {**os.environ, **({} if "Machine(" in file.read_text() else {"TINAMOU_CACHE": str(tmp_path / "cache")})}
    env["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS / "isa" / "riscv"), env.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=250, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("guide", sorted(DOCS.rglob("*.md")), ids=lambda p: p.name)
def test_files_exist(guide: Path) -> None:
    """Files and links that a text names are there."""
    root = DOCS.parent
    text = guide.read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (guide.parent / link).exists(), link
    for path in re.findall(r"`((?:src|tests|docs|bench)/[\w./-]+)`", text):
        if not re.search(r"\b[A-Z]{2,}\b", path):  # KIND stands for any
            assert (root / path).exists() or list(root.glob(path + "*")), path


def test_reading_guide_is_complete() -> None:
    """Every package of the house is in the picture and in the list."""
    text = (DOCS / "reading-guide.md").read_text()
    for folder in (DOCS.parent / "src" / "tinamou").iterdir():
        if (folder / "__init__.py").exists():
            assert len(re.findall(rf"\b{folder.name}/", text)) >= 2, folder.name
    packages = "native|engine|isa|user|machine|devices|block|control|tools|boards|softfloat|firmware|backends"
    for name in re.findall(rf"`((?:{packages})/[\w./*]+)`", text):
        assert list((DOCS.parent / "src" / "tinamou").glob(name)), name
