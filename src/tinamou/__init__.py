"""Tinamou: a machine emulator whose source is Python and whose speed is native.

`Machine` and its friends live in `tinamou.api` and are imported when they are first asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tinamou.api import AsyncMachine as AsyncMachine
    from tinamou.api import Machine as Machine
    from tinamou.api import MachineEnded as MachineEnded
    from tinamou.api import MachineError as MachineError
    from tinamou.api import RunTimeout as RunTimeout

__version__ = "0.1.0"
__all__ = ["AsyncMachine", "Machine", "MachineEnded", "MachineError", "RunTimeout", "__version__"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("tinamou.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
