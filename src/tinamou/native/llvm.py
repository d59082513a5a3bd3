"""LLVM IR text to a relocatable object, through llvmlite.  The only module that imports it: a warm start does without."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from pathlib import Path
from typing import Any


def _map_library() -> None:
    """Load LLVM without the interpreter lock: its relocation takes 25 ms, for which guests' system calls would wait."""
    spec = importlib.util.find_spec("llvmlite")
    if spec and spec.origin:
        path = Path(spec.origin).parent / "binding" / "libllvmlite.so"
        ctypes.CDLL(None).dlopen(os.fsencode(path), ctypes.c_int(os.RTLD_NOW))  # where it is not there, the import says what is wrong


_map_library()

import llvmlite.binding as binding  # noqa: E402

LLVM_VERSION = ".".join(map(str, binding.llvm_version_info))


@functools.cache
def _initialise() -> None:
    # options are global to the process: null checks marked !make.implicit become fault maps, 128-bit division needs no library; no strength
    # reduction, whose further loop counters would only take registers: the guest's own are all needed at every exit
    for option in ("-enable-implicit-null-checks", "-expand-div-rem-bits=64", "-disable-lsr", "-tail-dup-indirect-size=1"):
        binding.set_option("tinamou", option)
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()  # inline assembly without it aborts the process


@functools.cache
def triple() -> str:
    _initialise()
    return binding.get_process_triple()  # type: ignore[no-any-return]


@functools.cache
def target_machine(opt: int) -> Any:
    """A machine for position-independent code near its data (the small code model)."""
    _initialise()
    return binding.Target.from_triple(triple()).create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=opt,
        reloc="pic",
        codemodel="small",
    )


def host_cpu() -> str:
    """The host CPU's name and features, for cache keys."""
    return f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"


def optimised(text: str, opt: int) -> tuple[Any, Any]:
    """The module, and the machine for it.  A pass manager is used once: running it twice aborts the process."""
    machine = target_machine(min(opt, 3))
    module = binding.parse_assembly(text)
    module.verify()
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=opt))
    builder.getModulePassManager().run(module, builder)
    return module, machine


def compile_object(text: str, opt: int = 2) -> bytes:
    """An ELF relocatable object."""
    module, machine = optimised(text, opt)
    return machine.emit_object(module)  # type: ignore[no-any-return]


def compile_assembly(text: str, opt: int = 2) -> str:
    """The assembly of what compile_object gives."""
    module, machine = optimised(text, opt)
    return machine.emit_assembly(module)  # type: ignore[no-any-return]


def assemble(text: str) -> bytes:
    """An ELF relocatable object from assembly."""
    quoted = (line.replace("\\", "\\5C").replace('"', "\\22") for line in text.splitlines())
    module = binding.parse_assembly("\n".join([f'target triple = "{triple()}"', *(f'module asm "{line}"' for line in quoted)]))
    return target_machine(2).emit_object(module)  # type: ignore[no-any-return]


IMPLICIT = "!make.implicit"


class SmallCompiler:
    """Compiles many small modules, one after the other, with few passes: about 0.2 ms an instruction of the guest.

    The function pass manager is made once and used again: each run of a module pipeline would leak some 100 KB.
    """

    def __init__(self) -> None:
        _initialise()
        self.triple = triple()
        self.machine = target_machine(1)
        self.builder = binding.create_pass_builder(self.machine, binding.create_pipeline_tuning_options(speed_level=1))
        self.passes = binding.create_new_function_pass_manager()
        self.passes.add_sroa_pass()
        self.passes.add_instruction_combine_pass()
        self.passes.add_simplify_cfg_pass()

    def compile(self, text: str) -> tuple[bytes, int]:
        """An ELF object, and how many null checks are left in it to become fault maps."""
        module = binding.parse_assembly(text, binding.create_context())
        for function in module.functions:
            if not function.is_declaration:
                self.passes.run(function, self.builder)
        obj: bytes = self.machine.emit_object(module)
        return obj, text.count(IMPLICIT) and str(module).count(IMPLICIT)
