"""Every command of `tinamou-io` beside the original's: the same lines and exit codes, times and rates aside."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support import originals
from support.beside import run
from tools.test_img_golden import images, needed, shims

__all__ = ["images", "shims"]

CASES = Path(__file__).with_name("io_cases.txt").read_text().splitlines()


def blur(text: str) -> str:
    return re.sub(r"ops; .*", "ops", text)


@pytest.mark.parametrize("case", [c for c in CASES if c and not c.startswith("#")])
def test_same_as_the_original(case: str, images: Path, shims: Path, tmp_path: Path) -> None:
    command, _, look = case.partition(";;")
    original = originals.folder()
    answers = []
    for name, path in (("theirs", original), ("ours", str(shims))):
        folder = tmp_path / name
        folder.mkdir()
        for image in needed(case, images):
            subprocess.run(["cp", "--sparse=always", "-p", str(image), str(folder)], check=True)
        answer = run(f"qemu-io {command}", folder, path)
        after = run(look, folder, original) if look else (0, "", "")
        answers.append((answer, after))
    (theirs, after_theirs), (ours, after_ours) = answers
    assert ours[0] == theirs[0], ours[2]
    assert blur(ours[1]) == blur(theirs[1])
    assert ours[2] == theirs[2]
    assert after_ours == after_theirs


def test_commands_from_stdin(images: Path, shims: Path, tmp_path: Path) -> None:
    """The prompt is the program's name."""
    subprocess.run(["cp", str(images / "a.qcow2"), str(tmp_path)], check=True)
    original = originals.folder()
    line = r"printf 'read 0 512\nlength\n\nfoo\nq\n' | qemu-io a.qcow2"
    theirs, ours = (run(line, tmp_path, path) for path in (original, str(shims)))
    assert blur(ours[1]) == blur(theirs[1]) and ours[2] == theirs[2] and ours[0] == theirs[0]


def test_break_and_resume(images: Path, shims: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", str(images / "a.raw"), str(tmp_path)], check=True)
    name = '\'json:{"driver":"raw","file":{"driver":"blkdebug","image":{"driver":"file","filename":"a.raw"}}}\''
    line = (
        "qemu-io -c 'break write_aio A' -c 'aio_write -P 7 0 4k' -c 'wait_break A' -c 'read -P 0 0 4k' -c 'resume A' "
        f"-c aio_flush -c 'read -P 7 0 4k' {name}"
    )
    done = run(line, tmp_path, str(shims))
    assert done[0] == 0, done
    lines = [text for text in blur(done[1]).splitlines() if "ops" not in text]
    assert lines == [
        "blkdebug: Suspended request 'A'",
        "read 4096/4096 bytes at offset 0",
        "blkdebug: Resuming request 'A'",
        "wrote 4096/4096 bytes at offset 0",
        "read 4096/4096 bytes at offset 0",
    ]
