"""One command line run by the original's tools and by ours, in folders of their own with the same images; what may differ blurred."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from support import originals

FLAKY = "Unable to get accurate CPU usage"
"""How the original fails to measure its key derivation now and then, above all on a busy machine."""


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def write_shims(folder: Path) -> Path:
    """Our tools under the original's names."""
    for name in ("img", "io"):
        script = folder / f"qemu-{name}"
        script.write_text(f"#!{sys.executable}\nimport sys\nfrom tinamou.tools.{name} import main\nsys.exit(main())\n")
        script.chmod(0o755)
    return folder


def blur(text: str) -> str:
    text = re.sub(r"disk size: .*", "disk size: ?", text)
    text = re.sub(r"Image end offset: .*", "Image end offset: ?", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"Run completed in .* seconds", "Run completed", text)
    text = re.sub(r"#block\d+", "#block", text)
    text = re.sub(r"\bcid: \d+", "cid: ?", text)
    return re.sub(r"(The lock is held by|Did you mean|The file is) .*\n", "", text)


def parsed(text: str) -> object:
    """JSON without the values that depend on how a file was written."""

    def clean(value: object) -> object:
        if isinstance(value, dict):
            dropped = ("actual-size", "date-sec", "date-nsec", "image-end-offset", "cid", "parent-cid")
            return {k: clean(v) for k, v in value.items() if k not in dropped}
        return [clean(v) for v in value] if isinstance(value, list) else value

    return clean(json.loads(text))


def run(line: str, folder: Path, path: str, **environment: str) -> Answer:
    env = {**os.environ, "PATH": path + os.pathsep + os.environ["PATH"], "TZ": "UTC", **environment}
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    return Answer(done.returncode, done.stdout, done.stderr)


def both(case: str, images: Iterable[Path], shims: Path, scratch: Path, **environment: str) -> list[tuple[Answer, Answer]]:
    """The original's answer and ours; `case` is a command line after `qemu-img`, and after `;;` one that looks at the result with the
    original's tools. Each pair: what the command said, what the look said."""
    command, _, look = case.partition(";;")
    original = originals.folder()
    pairs = []
    for name, path in (("theirs", original), ("ours", str(shims))):
        for attempt in range(12):
            folder = scratch / f"{name}{attempt or ''}"
            folder.mkdir()
            for image in images:
                subprocess.run(["cp", "--sparse=always", "-p", str(image), str(folder)], check=True)
            answer = run(f"qemu-img {command}", folder, path, **environment)
            if name == "ours" or FLAKY not in answer.err:
                break
        after = run(look, folder, original, **environment) if look else Answer(0, "", "")
        pairs.append((answer, after))
    return pairs


def same(case: str, images: Iterable[Path], shims: Path, scratch: Path, veil: Callable[[str], str] = blur, **environment: str) -> None:
    """Both answers to `case` are equal, and so is what the look says, once `veil` has hidden what may differ there."""
    command = case.partition(";;")[0]
    (theirs, after_theirs), (ours, after_ours) = both(case, images, shims, scratch, **environment)
    assert ours.code == theirs.code, ours.err
    assert blur(ours.err) == blur(theirs.err)
    if "--output=json" in command and theirs.out.startswith(("{", "[")):
        assert parsed(ours.out) == parsed(theirs.out)
    elif command.startswith("create -f luks -o help"):  # an option of a later version
        assert [line for line in ours.out.splitlines() if "detached-header" not in line] == theirs.out.splitlines()
    else:
        assert blur(ours.out) == blur(theirs.out)
    assert (after_ours.code, veil(after_ours.out), after_ours.err) == (after_theirs.code, veil(after_theirs.out), after_theirs.err)
