"""Kernel keyrings: keyrings(7)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Annotated, Any

from ..kinds import OptText, Text, pass_operation
from ..syscall import Buf, Int, Kind, Result, Size, UInt, ULong, syscall

if TYPE_CHECKING:
    from ..thread import Thread


@syscall
def add_key(kind: Text, description: OptText, payload: Buf, size: Size, keyring: Int) -> Result: ...


@syscall
def request_key(kind: Text, description: Text, callout: OptText, keyring: Int) -> Result: ...


OPERATIONS: dict[int, tuple[str, tuple[Any, ...]]] = {
    0: ("KEYCTL_GET_KEYRING_ID", (Int, Int)),
    1: ("KEYCTL_JOIN_SESSION_KEYRING", (OptText,)),
    2: ("KEYCTL_UPDATE", (Int, Buf, Size)),
    3: ("KEYCTL_REVOKE", (Int,)),
    4: ("KEYCTL_CHOWN", (Int, UInt, UInt)),
    5: ("KEYCTL_SETPERM", (Int, UInt)),
    6: ("KEYCTL_DESCRIBE", (Int, Buf, Size)),
    7: ("KEYCTL_CLEAR", (Int,)),
    8: ("KEYCTL_LINK", (Int, Int)),
    9: ("KEYCTL_UNLINK", (Int, Int)),
    10: ("KEYCTL_SEARCH", (Int, Text, Text, Int)),
    11: ("KEYCTL_READ", (Int, Buf, Size)),
    12: ("KEYCTL_INSTANTIATE", (Int, Buf, Size, Int)),
    13: ("KEYCTL_NEGATE", (Int, UInt, Int)),
    14: ("KEYCTL_SET_REQKEY_KEYRING", (Int,)),
    15: ("KEYCTL_SET_TIMEOUT", (Int, UInt)),
    16: ("KEYCTL_ASSUME_AUTHORITY", (Int,)),
    17: ("KEYCTL_GET_SECURITY", (Int, Buf, Size)),
    18: ("KEYCTL_SESSION_TO_PARENT", ()),
    19: ("KEYCTL_REJECT", (Int, UInt, UInt, Int)),
    21: ("KEYCTL_INVALIDATE", (Int,)),
    22: ("KEYCTL_GET_PERSISTENT", (UInt, Int)),
    29: ("KEYCTL_RESTRICT_KEYRING", (Int, OptText, OptText)),
    30: ("KEYCTL_MOVE", (Int, Int, Int, UInt)),
    31: ("KEYCTL_CAPABILITIES", (Buf, Size)),
}


class _Operation(Kind):
    def show(self, t: Thread, raw: int) -> str:
        return OPERATIONS[raw][0] if raw in OPERATIONS else str(raw)


Operation = Annotated[int, _Operation()]


@syscall
def keyctl(t: Thread, operation: Operation, a: ULong, b: ULong, c: ULong, d: ULong) -> int:
    if operation not in OPERATIONS:
        raise OSError(errno.EOPNOTSUPP, "keyctl operation")
    kinds = OPERATIONS[operation][1]
    return pass_operation(t, "keyctl", (operation,), kinds, (a, b, c, d)[: len(kinds)])
