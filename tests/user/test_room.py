from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.guest_calls import ABIS
from tinamou.user.calls.attributes import Stat64, Statx
from tinamou.user.calls.clocks import Timex
from tinamou.user.calls.ioctls import Arpreq, IfreqMap, Termios2
from tinamou.user.calls.polling import EpollEvent
from tinamou.user.calls.scheduling import Rlimit
from tinamou.user.host import HOST
from tinamou.user.layout import layout_of
from tinamou.user.room import Room, recode
from tinamou.user.structs import Rusage, Stat, Timespec

KINDS = [Stat, Statx, Timex, Arpreq, IfreqMap, Termios2, EpollEvent, Rlimit, Rusage, Timespec]


@given(st.sampled_from(KINDS), st.sampled_from(list(ABIS)), st.booleans(), st.data())
def test_recoding_is_loading_and_dumping(kind: type, name: str, back: bool, data: st.DataObject) -> None:
    source, target = (HOST, ABIS[name]) if back else (ABIS[name], HOST)
    mine, theirs = layout_of(kind, source), layout_of(kind, target)
    given_bytes = data.draw(st.binary(min_size=mine.size, max_size=mine.size))
    value = mine.load(given_bytes)
    assert theirs.load(recode(kind, source, target)(given_bytes)) == theirs.load(theirs.dump(value))


def test_fields_of_another_structure() -> None:
    abi = ABIS["generic32be"]
    room = Room(Stat, Stat(st_ino=1 << 40, st_size=-1, st_mtime=(1 << 32) + 5))
    found = layout_of(Stat64, abi).load(recode(Stat, HOST, abi, Stat64)(room.memory.raw))
    assert (found.st_ino, found.st_size, found.st_mtime, found.pad1) == (1 << 40, -1, 5, 0)


def test_room() -> None:
    room = Room(Timespec, Timespec(tv_sec=1), Timespec(tv_sec=2), count=3)
    assert [room[i].tv_sec for i in range(3)] == [1, 2, 0]
    assert room.value == room[0]
    with pytest.raises(Exception, match="unpack"):
        room[3]
