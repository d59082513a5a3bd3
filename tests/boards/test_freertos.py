"""A real-time operating system: FreeRTOS on `virt`, its kernel compiled here by ziglang.

FREERTOS_KERNEL names a checkout of github.com/FreeRTOS/FreeRTOS-Kernel.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinamou import Machine

KERNEL = Path(os.environ.get("FREERTOS_KERNEL", "/nonexistent"))
PROGRAM = Path(__file__).parents[1] / "guests" / "bare" / "freertos"
PORT = KERNEL / "portable" / "GCC" / "RISC-V"
SOURCES = [*(KERNEL / f"{n}.c" for n in ("list", "queue", "tasks", "timers")), KERNEL / "portable/MemMang/heap_4.c", PORT / "port.c",
           PORT / "portASM.S", PROGRAM / "main.c"]  # fmt: skip
LAYOUT = """
ENTRY(_start)
SECTIONS {
  . = 0x80000000;
  .text : { *(.init) *(.text*) *(.rodata*) *(.srodata*) }
  .data ALIGN(8) : { __global_pointer$ = . + 0x800; *(.data*) *(.sdata*) }
  .bss ALIGN(16) (NOLOAD) : { bss_start = .; *(.sbss*) *(.bss*) *(COMMON) . = ALIGN(16); bss_end = .; . += 0x2000; stack_top = .; }
  /DISCARD/ : { *(.eh_frame*) *(.comment) }
}
"""
HEADERS = {  # all that the kernel needs of them
    "string.h": "#include <stddef.h>\n"
    "void *memset(void *, int, size_t);\nvoid *memcpy(void *, const void *, size_t);\nsize_t strlen(const char *);",
    "stdlib.h": "#include <stddef.h>",
}


@pytest.mark.skipif(not PORT.exists(), reason="FREERTOS_KERNEL does not name a checkout of FreeRTOS-Kernel")
@pytest.mark.parametrize("xlen", [32, 64])
def test_tasks_queues_and_timers(xlen: int, tmp_path: Path) -> None:
    for name, text in HEADERS.items():
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "layout").write_text(LAYOUT)
    program = tmp_path / "program.elf"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"riscv{xlen}-freestanding", f"-mcpu=generic_rv{xlen}+m+a+c+zicsr", "-Os"]
    command += ["-nostdlib", "-static", "-ffreestanding", "-fno-sanitize=all", "-mcmodel=medany", "-w", f"-I{tmp_path}", f"-I{PROGRAM}"]
    command += [f"-I{KERNEL}/include", f"-I{PORT}", f"-I{PORT}/chip_specific_extensions/RISCV_MTIME_CLINT_no_extensions"]
    subprocess.run([*command, f"-Wl,-T,{tmp_path}/layout", "-o", program, *SOURCES], check=True, timeout=280)
    with Machine("virt", arch=f"riscv{xlen}", bios="none", kernel=program) as m:
        text = m.run(timeout=30)
        assert (m.status, m.exit_code) == ("shutdown", 0), text
    assert text == "".join(f"got {n}\n" for n in range(1, 21)) + "sum 210 in time, timer runs, idle runs\n"
