"""Every command of `tinamou-img` beside the original's on the same images: stdout, stderr and exit code are equal.

JSON is compared parsed; what may differ (sizes on the host's disk) is removed first.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from support import originals
from support.beside import same, write_shims

SETUP = """
img create -q -f raw a.raw 16M
io -q -f raw -c "write -P 7 1M 3M" -c "write -P 9 10M 70k" a.raw
img convert -f raw -O qcow2 a.raw a.qcow2
img convert -f raw -O qcow2 -c a.raw packed.qcow2
img convert -f raw -O qcow2 -c -o compression_type=zstd a.raw zstd.qcow2
img convert -f raw -O qcow2 -o compat=0.10 a.raw old.qcow2
img convert -f raw -O qcow2 -o extended_l2=on a.raw sub.qcow2
img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
io -c "write -P 3 1M 70k" -c "write -z 2M 128k" b.qcow2
img snapshot -c s1 b.qcow2
io -c "write -P 4 5M 64k" b.qcow2
img convert -O qcow2 a.qcow2 marked.qcow2
img bitmap --add marked.qcow2 b0
img bitmap --add --disable -g 128k marked.qcow2 b1
io -c "write -P 4 5M 64k" marked.qcow2
img create -q -f raw small.raw 64k
img create -q -f raw big.raw 17M
img create -q -f qcow2 -o cluster_size=4k,refcount_bits=1,lazy_refcounts=on fine.qcow2 4M
io -c "write -P 3 100k 1M" fine.qcow2
img convert -f raw -O vdi a.raw d.vdi
img convert -f raw -O vdi -o static=on a.raw static.vdi
img convert -f raw -O vpc a.raw d.vpc
img convert -f raw -O vpc -o subformat=fixed,force_size=on a.raw fixed.vpc
img convert -f raw -O vmdk a.raw d.vmdk
img convert -f raw -O vmdk -o subformat=streamOptimized a.raw stream.vmdk
img convert -f raw -O vmdk -o subformat=monolithicFlat a.raw flat.vmdk
img convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse a.raw split.vmdk
img create -q -f vmdk -o zeroed_grain=on zeroed.vmdk 4M
io -c "write -P 3 0 1M" -c "write -z 64k 128k" -c "write -z 3M 64k" zeroed.vmdk
img create -q -f vmdk -b d.vmdk -F vmdk child.vmdk
io -c "write -P 3 2M 100k" child.vmdk
img create -q -f qcow2 base.qcow2 8M
io -c "write -P 1 0 1M" base.qcow2
img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2
io -c "write -P 2 512k 1M" -c "write -z 3M 1M" mid.qcow2
img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2 10M
io -c "write -P 3 1M 1M" -c "write -P 4 9M 64k" top.qcow2
"""

CASES = Path(__file__).with_name("img_cases.txt").read_text().splitlines()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for line in SETUP.strip().splitlines():
        program, *args = shlex.split(line)
        args = [a for a in args if not (program == "io" and a == "-q")]
        originals.run(f"qemu-{program}", *args, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def shims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our tools under the original's names."""
    return write_shims(tmp_path_factory.mktemp("bin"))


def needed(case: str, images: Path) -> list[Path]:
    """The images a case names, with their backing files."""
    names = {image.name for image in images.iterdir() if image.name in case}
    if "b.qcow2" in names:
        names.add("a.qcow2")
    if "child.vmdk" in names:
        names.add("d.vmdk")
    if "top.qcow2" in names:
        names.add("mid.qcow2")
    if "mid.qcow2" in names:
        names.add("base.qcow2")
    for name, companion in (("flat.vmdk", "flat-flat.vmdk"), ("split.vmdk", "split-s001.vmdk")):
        if name in names:
            names.add(companion)
    return sorted(images / name for name in names)


@pytest.mark.parametrize("case", [c for c in CASES if c and not c.startswith("#")])
def test_same_as_the_original(case: str, images: Path, shims: Path, tmp_path: Path) -> None:
    """`case`: a command line after `qemu-img`; what follows `;;` looks at the result with the original's tools."""
    same(case, needed(case, images), shims, tmp_path)
