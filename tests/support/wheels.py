"""Programs for other architectures out of wheels on the package index: `pip download` by name and platform.

python tests/support/wheels.py ruff riscv64     prints the path of the program
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from .debian import CACHE
from .once import made

MUSL = ("musllinux_1_1_{0}", "musllinux_1_2_{0}")
PLATFORMS = ("manylinux_2_17_{0}", "manylinux_2_31_{0}", "manylinux_2_35_{0}", "manylinux_2_38_{0}", "manylinux_2_39_{0}", *MUSL)


class WheelError(Exception):
    """A wheel that cannot be had, in words for the user."""


def program(package: str, arch: str, name: str = "", platforms: tuple[str, ...] = PLATFORMS) -> Path:
    """The executable `name` (the package's own name if not given) of that package; fetched once.  Raises WheelError.

    Those of Rust programs for MUSL are static.
    """
    folder = CACHE / "wheels" / (arch if platforms is PLATFORMS else f"{arch}-musl") / package
    name = name or package

    def fetch(fresh: Path) -> None:
        tags = [word for p in platforms for word in ("--platform", p.format(arch))]
        with tempfile.TemporaryDirectory(dir=folder) as place:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", *tags, "-d", place]
            done = subprocess.run([*command, package], capture_output=True, text=True)
            if done.returncode:
                raise WheelError(f"{package} for {arch}: {done.stderr.strip()}")
            (wheel,) = Path(place).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                found = [n for n in archive.namelist() if n.endswith(f"/bin/{name}") or n.endswith(f"scripts/{name}")]
                if not found:
                    raise WheelError(f"{wheel.name} holds no program {name}")
                fresh.write_bytes(archive.read(found[0]))
        fresh.chmod(0o755)

    return made(folder / name, fetch)


if __name__ == "__main__":
    print(program(*sys.argv[1:]))
