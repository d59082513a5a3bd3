"""System V IPC: shared memory, semaphores, message queues."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING, Annotated, Any

from ..host import HOST
from ..kinds import call_named, flag_set
from ..layout import Struct, i16, i32, layout_of, pointer, u16, u32, ulong
from ..room import Room
from ..structs import Timespec
from ..syscall import Addr, Buf, In, Int, Kind, Long, Ptr, Result, Size, UInt, ULong, syscall

if TYPE_CHECKING:
    from ..abi import Abi
    from ..thread import Thread

IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO = 0, 1, 2, 3
IPC_64 = 0x100
MSG_STAT, MSG_INFO, MSG_STAT_ANY = 11, 12, 13
SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_INFO, SHM_STAT_ANY = 11, 12, 13, 14, 15
GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL, SETALL, SEM_STAT, SEM_INFO, SEM_STAT_ANY = 11, 12, 13, 14, 15, 16, 17, 18, 19, 20
SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC = 0o10000, 0o20000, 0o40000, 0o100000
MESSAGE_MAX = 1 << 24
SEMOPS_MAX = 500
SEMAPHORES_MAX = 32000

IpcFlags = Annotated[int, flag_set("ipc", IPC_CREAT=0o1000, IPC_EXCL=0o2000, IPC_NOWAIT=0o4000)]


class IpcPerm(Struct):
    """struct ipc64_perm of asm-generic."""

    key: i32
    uid: u32
    gid: u32
    cuid: u32
    cgid: u32
    mode: u32
    seq: u16
    pad2: u16
    unused1: ulong
    unused2: ulong


class ShmidDs(Struct):
    """struct shmid64_ds of asm-generic on 64-bit architectures."""

    shm_perm: IpcPerm
    shm_segsz: ulong
    shm_atime: ulong
    shm_dtime: ulong
    shm_ctime: ulong
    shm_cpid: i32
    shm_lpid: i32
    shm_nattch: ulong
    unused4: ulong
    unused5: ulong


class ShmidDs32(Struct):
    """The same on 32-bit ones: times have a high word."""

    shm_perm: IpcPerm
    shm_segsz: u32
    shm_atime: u32
    shm_atime_high: u32
    shm_dtime: u32
    shm_dtime_high: u32
    shm_ctime: u32
    shm_ctime_high: u32
    shm_cpid: i32
    shm_lpid: i32
    shm_nattch: u32
    unused4: u32
    unused5: u32


class MsqidDs(Struct):
    msg_perm: IpcPerm
    msg_stime: ulong
    msg_rtime: ulong
    msg_ctime: ulong
    msg_cbytes: ulong
    msg_qnum: ulong
    msg_qbytes: ulong
    msg_lspid: i32
    msg_lrpid: i32
    unused4: ulong
    unused5: ulong


class MsqidDs32(Struct):
    msg_perm: IpcPerm
    msg_stime: u32
    msg_stime_high: u32
    msg_rtime: u32
    msg_rtime_high: u32
    msg_ctime: u32
    msg_ctime_high: u32
    msg_cbytes: u32
    msg_qnum: u32
    msg_qbytes: u32
    msg_lspid: i32
    msg_lrpid: i32
    unused4: u32
    unused5: u32


class SemidDs(Struct):
    sem_perm: IpcPerm
    sem_otime: ulong
    sem_ctime: ulong
    sem_nsems: ulong
    unused3: ulong
    unused4: ulong


class SemidDs32(Struct):
    sem_perm: IpcPerm
    sem_otime: u32
    sem_otime_high: u32
    sem_ctime: u32
    sem_ctime_high: u32
    sem_nsems: u32
    unused3: u32
    unused4: u32


class SemidDsX86(Struct):
    """struct semid64_ds of x86-64."""

    sem_perm: IpcPerm
    sem_otime: ulong
    unused1: ulong
    sem_ctime: ulong
    unused2: ulong
    sem_nsems: ulong
    unused3: ulong
    unused4: ulong


class Shminfo(Struct):
    shmmax: ulong
    shmmin: ulong
    shmmni: ulong
    shmseg: ulong
    shmall: ulong
    unused1: ulong
    unused2: ulong
    unused3: ulong
    unused4: ulong


class ShmUsage(Struct):
    """struct shm_info"""

    used_ids: i32
    shm_tot: ulong
    shm_rss: ulong
    shm_swp: ulong
    swap_attempts: ulong
    swap_successes: ulong


class Msginfo(Struct):
    values: Annotated[tuple[int, ...], "7i"]
    msgseg: u16


class Seminfo(Struct):
    values: Annotated[tuple[int, ...], "10i"]


class Sembuf(Struct):
    sem_num: u16
    sem_op: i16
    sem_flg: i16


SHM, MSG, SEM = (ShmidDs, ShmidDs32), (MsqidDs, MsqidDs32), (SemidDs, SemidDs32)
TIMES = ("shm_atime", "shm_dtime", "shm_ctime", "msg_stime", "msg_rtime", "msg_ctime", "sem_otime", "sem_ctime")


def of_abi(kinds: tuple[type[Struct], type[Struct]], abi: Abi) -> type[Struct]:
    """The ..._ds of an ABI."""
    if kinds is SEM and abi.name == "x86_64":
        return SemidDsX86
    return kinds[abi.bits == 32]


def to_guest(value: Any, abi: Abi) -> Any:
    """Split times for 32-bit ABIs."""
    if abi.bits == 32:
        for name in TIMES:
            if name in type(value).fields:
                setattr(value, name + "_high", getattr(value, name) >> 32)
    return value


def dump(kind: type[Struct], value: Any, abi: Abi) -> bytes:
    """`kind` with what `value` has of its fields, times with their high words."""
    made = kind(**{name: v for name, v in vars(to_guest(value, abi)).items() if name in kind.fields})
    return layout_of(kind, abi).dump(made)


def control(t: Thread, name: str, identifier: int, command: int, buf: Buf, kinds: Any, leading: tuple[int, ...] = ()) -> int:
    """IPC_STAT and others that fill a ..._ds, IPC_SET that reads one, and those without one."""
    kind, theirs = of_abi(kinds, t.abi), of_abi(kinds, HOST)
    if command == IPC_SET:
        layout = layout_of(kind, t.abi)
        given = layout.load(buf.read(layout.size))
        made = theirs(**{n: v for n, v in vars(given).items() if n in theirs.fields})
        return t.host(name, identifier, *leading, command, Room(theirs, made).memory)
    room = Room(theirs)
    result = t.host(name, identifier, *leading, command, room.memory)
    buf.write(dump(kind, room.value, t.abi))
    return result


def inform(t: Thread, name: str, identifier: int, command: int, buf: Buf, kind: type[Struct], leading: tuple[int, ...] = ()) -> int:
    """IPC_INFO and its like."""
    room = Room(kind)
    result = t.host(name, identifier, *leading, command, room.memory)
    buf.write(layout_of(kind, t.abi).dump(room.value))
    return result


class _Command(Kind):
    """A command without the bit that old architectures set for the structures used here."""

    def value(self, t: Thread, raw: int) -> int:
        return raw & 0xFFFF_FFFF & ~IPC_64


Command = Annotated[int, _Command()]


# ---- shared memory


@syscall
def shmget(key: Int, size: Size, flags: IpcFlags) -> Result: ...


@syscall
def shmctl(t: Thread, shmid: Int, command: Command, buf: Buf) -> int:
    if command in (IPC_STAT, SHM_STAT, SHM_STAT_ANY, IPC_SET):
        return control(t, "shmctl", shmid, command, buf, SHM)
    if command == IPC_INFO:
        return inform(t, "shmctl", shmid, command, buf, Shminfo)
    if command == SHM_INFO:
        return inform(t, "shmctl", shmid, command, buf, ShmUsage)
    return t.host("shmctl", shmid, command, 0)


@syscall
def shmat(t: Thread, shmid: Int, address: Addr, flags: Int) -> int:
    """Make a mapping of that size in the guest's address space and let the host put the segment in its place."""
    memory = t.memory
    room = Room(ShmidDs)
    t.host("shmctl", shmid, IPC_STAT, room.memory)
    size, key = room.value.shm_segsz, room.value.shm_perm.key & 0xFFFF_FFFF
    if address % t.abi.page:
        if not flags & SHM_RND:
            raise OSError(errno.EINVAL, "unaligned")
        address -= address % t.abi.page
    if flags & SHM_REMAP and not address:
        raise OSError(errno.EINVAL, "SHM_REMAP without an address")
    prot = 1 if flags & SHM_RDONLY else 3
    if flags & SHM_EXEC:
        prot |= 4
    with memory.lock:
        if address and not flags & SHM_REMAP and not memory.is_free(address, address + size):
            raise OSError(errno.EINVAL, "occupied")
        placed = 0x4021 | (0x10 if address else 0)  # MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, MAP_FIXED
        at = memory.map(address, size, prot, placed, name=f"/SYSV{key:08x} (deleted)")
        try:
            t.host("shmat", shmid, memory.host(at, size), flags & ~(SHM_RND | SHM_EXEC) | SHM_REMAP)
        except OSError:
            memory.unmap(at, size)
            raise
    return at


@syscall
def shmdt(t: Thread, address: Addr) -> None:
    """What is unmapped the kernel detaches."""
    with t.memory.lock:
        region = t.memory.find(address)
        if region is None or region.start != address or not region.name.startswith("/SYSV"):
            raise OSError(errno.EINVAL, "no segment")
        t.memory.unmap(address, region.end - address)


# ---- semaphores


@syscall
def semget(key: Int, count: Int, flags: IpcFlags) -> Result: ...


@syscall
def semctl(t: Thread, semid: Int, number: Int, command: Command, argument: ULong) -> int:
    buf = Buf(t.memory, argument)
    if command in (IPC_STAT, SEM_STAT, SEM_STAT_ANY, IPC_SET):
        return control(t, "semctl", semid, command, buf, SEM, (number,))
    if command in (IPC_INFO, SEM_INFO):
        return inform(t, "semctl", semid, command, buf, Seminfo, (number,))
    if command in (GETALL, SETALL):
        room = Room(of_abi(SEM, HOST))
        t.host("semctl", semid, 0, IPC_STAT, room.memory)
        count = min(room.value.sem_nsems, SEMAPHORES_MAX)
        values: Ptr[int] = Ptr(t.memory, argument, layout_of(u16, t.abi))
        if command == SETALL:
            return t.host("semctl", semid, 0, SETALL, Room(u16, *values[:count]).memory)
        got = Room(u16, count=count)
        t.host("semctl", semid, 0, GETALL, got.memory)
        buf.write(b"".join(values.layout.dump(got[i]) for i in range(count)))
        return 0
    if command == SETVAL:  # an int in a union of pointer size
        word = argument >> 32 if t.abi.order == ">" and t.abi.bits == 64 else argument
        return t.host("semctl", semid, number, SETVAL, word & 0xFFFF_FFFF)
    return t.host("semctl", semid, number, command, 0)


@syscall(wide="semtimedop_time64", restart="never")
def semtimedop(t: Thread, semid: Int, operations: In[Sembuf], count: ULong, timeout: In[Timespec]) -> int:
    if not 0 < count <= SEMOPS_MAX:
        raise OSError(errno.EINVAL if not count else errno.E2BIG, "number of operations")
    until: Any = Room(Timespec, timeout.load()).memory if timeout else 0
    return t.host("semtimedop", semid, Room(Sembuf, *operations[:count]).memory, count, until)


@syscall(restart="never")
def semop(t: Thread, semid: Int, operations: In[Sembuf], count: ULong) -> int:
    return semtimedop(t, semid, operations, count, In(t.memory, 0, None))


# ---- messages


@syscall
def msgget(key: Int, flags: IpcFlags) -> Result: ...


@syscall
def msgctl(t: Thread, msqid: Int, command: Command, buf: Buf) -> int:
    if command in (IPC_STAT, MSG_STAT, MSG_STAT_ANY, IPC_SET):
        return control(t, "msgctl", msqid, command, buf, MSG)
    if command in (IPC_INFO, MSG_INFO):
        return inform(t, "msgctl", msqid, command, buf, Msginfo)
    return t.host("msgctl", msqid, command, 0)


@syscall(restart="never")
def msgsnd(t: Thread, msqid: Int, message: Buf, size: Size, flags: IpcFlags) -> int:
    if size > MESSAGE_MAX:
        raise OSError(errno.EINVAL, "message too long")
    word = t.abi.bits // 8
    data = message.read(word + size)
    kind: int = layout_of(Annotated[int, "long"], t.abi).load(data[:word])
    return t.host("msgsnd", msqid, struct.pack("=q", kind) + data[word:], size, flags)


@syscall(restart="never")
def msgrcv(t: Thread, msqid: Int, message: Buf, size: Size, kind: Long, flags: Int) -> int:
    if size > MESSAGE_MAX:
        raise OSError(errno.EINVAL, "message too long")
    room = ctypes.create_string_buffer(8 + size)
    got = t.host("msgrcv", msqid, room, size, kind, flags)
    message.write(layout_of(Annotated[int, "long"], t.abi).dump(struct.unpack_from("=q", room.raw)[0]) + room.raw[8 : 8 + got])
    return got




# ---- one call for all of them


class OldReceive(Struct):
    """What the fifth argument of msgrcv through ipc, version 0, points to."""

    message: pointer
    kind: Annotated[int, "long"]


@syscall
def ipc(t: Thread, which: UInt, first: ULong, second: ULong, third: ULong, at: ULong, fifth: ULong) -> int:
    """The System V calls of older architectures: linux/ipc.h; the version of the interface is in the upper half of `which`."""
    version, number = which >> 16, which & 0xFFFF
    if number == 3:
        argument: int = layout_of(ulong, t.abi).load(t.memory.read(at, t.abi.bits // 8))
        return call_named(t, "semctl", first, second, third, argument)
    if number == 12 and not version:
        old: OldReceive = Ptr[Any](t.memory, at, layout_of(OldReceive, t.abi)).load()
        at, fifth = old.message, old.kind & t.abi.mask
    if number == 21:
        t.memory.write(third, layout_of(ulong, t.abi).dump(call_named(t, "shmat", first, at, second)))
        return 0
    calls: dict[int, tuple[str, tuple[int, ...]]] = {
        1: ("semop", (first, at, second)),
        2: ("semget", (first, second, third)),
        4: ("semtimedop", (first, at, second, fifth)),
        11: ("msgsnd", (first, at, second, third)),
        12: ("msgrcv", (first, at, second, fifth, third)),
        13: ("msgget", (first, second)),
        14: ("msgctl", (first, second, at)),
        22: ("shmdt", (at,)),
        23: ("shmget", (first, second, third)),
        24: ("shmctl", (first, second, at)),
    }
    if number not in calls:
        raise OSError(errno.ENOSYS, "ipc")
    name, arguments = calls[number]
    return call_named(t, name, *arguments)
