"""`-p`: the lines begin at 0, never go back, and end at 100."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tinamou.tools.img import main


@pytest.mark.parametrize(
    "words",
    [
        "convert -p -O qcow2 a.raw n",
        "convert -p -c -O qcow2 a.raw n",
        "convert -p -c -O qcow2 -o cluster_size=4k a.raw n",
        "convert -p -O raw a.qcow2 n",
        "compare -p a.raw a.raw",
        "amend -p -o refcount_bits=64 a.qcow2",
        "amend -p -o compat=0.10 a.qcow2",
        "rebase -p -b a.raw -F raw over.qcow2",
        "commit -p over.qcow2",
    ],
)
def test_progress(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with open("a.raw", "wb") as file:
        for at in range(0, 8 << 20, 700_000):  # data that begins and ends within clusters
            file.seek(at)
            file.write(b"data" * 50_000)
        file.truncate(8 << 20)
    for command in ("convert -O qcow2 a.raw a.qcow2", "create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2"):
        assert main(command.split()) == 0
    assert main(words.split()) == 0
    shown = [float(number) for number in re.findall(r"    \((\d+\.\d\d)/100%\)\r", capsys.readouterr().out)]
    assert shown[0] == 0 and shown[-1] == 100
    assert shown == sorted(shown)
