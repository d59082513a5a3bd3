from __future__ import annotations

import errno
import os
import resource
import struct
from pathlib import Path

import pytest

from support.guest_calls import ABIS, Guest
from tinamou.user.calls.identity import CapData, CapHeader
from tinamou.user.calls.mqueue import MqAttr
from tinamou.user.calls.scheduling import Rlimit, Rlimit64, SchedAttr, SchedParam
from tinamou.user.calls.system import Sysinfo, Utsname
from tinamou.user.calls.sysv import IPC_RMID, IPC_STAT, MSG, SEM, SHM, Sembuf, of_abi
from tinamou.user.host import HOST
from tinamou.user.layout import i32, layout_of, long, u16, u32
from tinamou.user.structs import Rusage, Timespec
from tinamou.user.syscall import Iovec


def test_names(g: Guest) -> None:
    buf = g.struct(Utsname)
    assert g.uname(buf) == 0
    found = g.load(Utsname, buf)
    assert found.machine.rstrip(b"\0") == g.abi.name.encode()
    assert found.release.rstrip(b"\0") == os.uname().release.encode()
    g.process.options.release = "5.4.0"
    assert g.uname(buf) == 0 and g.load(Utsname, buf).release.rstrip(b"\0") == b"5.4.0"
    assert layout_of(Utsname, g.abi).size == 390


def test_sysinfo(g: Guest) -> None:
    buf = g.struct(Sysinfo)
    assert g.sysinfo(buf) == 0
    found = g.load(Sysinfo, buf)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert abs(found.totalram * found.mem_unit - total) <= found.mem_unit
    assert found.uptime > 0 and found.procs > 0


def test_random_and_personality(g: Guest) -> None:
    buf = g.room(32)
    assert g.getrandom(buf, 32, 1) == 32 and g.peek(buf, 32) != b"U" * 32
    assert g.getrandom(8, 32, 0) == -errno.EFAULT
    assert g.personality(0xFFFFFFFF) >= 0
    old = g.umask(0o77)
    assert g.umask(old) == 0o77


def test_identity(g: Guest) -> None:
    assert g.getpid() == os.getpid() and g.getppid() == os.getppid()
    assert g.getuid() == os.getuid() and g.getegid() == os.getegid()
    assert g.getsid(0) == os.getsid(0) and g.getpgid(0) == g.getpgrp() == os.getpgrp()
    ids = [g.room(4) for _ in range(3)]
    assert g.getresuid(*ids) == 0 and tuple(g.load(u32, at) for at in ids) == os.getresuid()
    count = g.getgroups(0, 0)
    assert count == len(os.getgroups())
    buf = g.room(4 * max(count, 1))
    assert g.getgroups(count, buf) == count or not count
    assert [g.load(u32, buf + 4 * i) for i in range(count)] == os.getgroups()
    assert g.getgroups(-1, buf) == -errno.EINVAL
    assert g.setuid(os.getuid()) == 0 and g.setresgid(-1, -1, -1) == 0


def test_capabilities(g: Guest) -> None:
    header, data = g.struct(CapHeader, version=0x20080522, pid=0), g.room(24)
    assert g.capget(header, data) == 0
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    mask = int(line.split()[1], 16)
    got = [g.load(CapData, data + 12 * i).effective for i in range(2)]
    assert got[0] | got[1] << 32 == mask
    header = g.struct(CapHeader, version=7, pid=0)
    assert g.capget(header, data) == -errno.EINVAL
    assert g.load(CapHeader, header).version == 0x20080522  # what the kernel wants is told


def test_limits(g: Guest) -> None:
    value = g.struct(Rlimit)
    assert g.getrlimit(7, value) == 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert (g.load(Rlimit, value).rlim_cur, g.load(Rlimit, value).rlim_max) == (soft, hard)
    wide = g.struct(Rlimit64)
    assert g.prlimit64(0, 7, 0, wide) == 0 and g.load(Rlimit64, wide).rlim_max == hard
    # limits on memory are the guest's own affair
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert g.prlimit64(0, 9, g.struct(Rlimit64, rlim_cur=1 << 20, rlim_max=1 << 40), 0) == 0
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert g.prlimit64(0, 9, 0, wide) == 0 and g.load(Rlimit64, wide).rlim_cur == 1 << 20
    assert g.setrlimit(3, g.struct(Rlimit, rlim_cur=2, rlim_max=1)) == -errno.EINVAL
    assert g.prlimit64(0, 99, 0, wide) == -errno.EINVAL
    core = resource.getrlimit(resource.RLIMIT_CORE)
    assert g.setrlimit(4, g.struct(Rlimit, rlim_cur=0, rlim_max=g.abi.mask)) in (0, -errno.EPERM)
    resource.setrlimit(resource.RLIMIT_CORE, core)
    assert g.show("getrlimit", 7, 0) == "getrlimit(RLIMIT_NOFILE,NULL)"


def test_scheduling(g: Guest) -> None:
    assert g.sched_yield() == 0
    assert g.sched_getscheduler(0) == os.sched_getscheduler(0)
    param = g.struct(SchedParam)
    assert g.sched_getparam(0, param) == 0 and g.load(SchedParam, param).sched_priority == 0
    assert g.sched_get_priority_max(1) == 99
    attr = g.struct(SchedAttr)
    assert g.sched_getattr(0, attr, 48, 0) == 0 and g.load(SchedAttr, attr).size == 48
    interval = g.struct(Timespec)
    assert g.sched_rr_get_interval(0, interval) == 0
    mask = g.room(1024)
    got = g.sched_getaffinity(0, 1024, mask)
    assert got > 0 and got % (g.abi.bits // 8) == 0
    word = "Q" if g.abi.bits == 64 else "I"
    words = struct.unpack(f"{g.abi.order}{got // (g.abi.bits // 8)}{word}", g.peek(mask, got))
    cpus = {i * g.abi.bits + b for i, w in enumerate(words) for b in range(g.abi.bits) if w >> b & 1}
    assert cpus == os.sched_getaffinity(0)
    assert g.sched_setaffinity(0, got, mask) == 0
    assert g.sched_getaffinity(0, 3, mask) == -errno.EINVAL
    cpu, node = g.room(4), g.room(4)
    assert g.getcpu(cpu, node, 0) == 0 and g.load(u32, cpu) < 4096
    assert g.getpriority(0, 0) == 20 - os.getpriority(os.PRIO_PROCESS, 0)
    usage = g.struct(Rusage)
    assert g.getrusage(0, usage) == 0 and g.load(Rusage, usage).ru_maxrss > 1000


def test_prctl(g: Guest) -> None:
    name = g.room(16)
    assert g.prctl(15, g.text("a-very-long-thread-name"), 0, 0, 0) == 0
    assert g.prctl(16, name, 0, 0, 0) == 0 and g.peek(name, 16) == b"a-very-long-thr\0"
    assert g.prctl(15, g.text("pytest"), 0, 0, 0) == 0
    signo = g.room(4)
    assert g.prctl(2, signo, 0, 0, 0) == 0 and g.load(i32, signo) == 0
    assert g.prctl(1, g.abi.signals["USR2"], 0, 0, 0) == 0
    assert g.prctl(2, signo, 0, 0, 0) == 0 and g.load(i32, signo) == g.abi.signals["USR2"]
    assert g.prctl(1, 0, 0, 0, 0) == 0
    assert g.prctl(3, 0, 0, 0, 0) in (0, 1, 2)
    assert g.prctl(22, 2, 0, 0, 0) == -errno.EINVAL  # PR_SET_SECCOMP
    assert g.prctl(12345, 0, 0, 0, 0) == -errno.EINVAL
    assert g.logged == ["Unsupported prctl: 12345\n"]
    assert g.show("prctl", 15, 0, 0, 0, 0).startswith("prctl(PR_SET_NAME,")


def test_refused_as_by_the_original(g: Guest) -> None:
    for name in ("io_uring_setup", "seccomp", "bpf", "landlock_create_ruleset"):
        assert name not in g.abi.numbers  # only calls that are declared have a number in these ABIs


def test_own_memory_of_a_process(g: Guest) -> None:
    source, target = g.put(b"transfer"), g.room(8)
    mine = g.struct(Iovec, iov_base=target, iov_len=8)
    theirs = g.struct(Iovec, iov_base=source, iov_len=8)
    assert g.process_vm_readv(os.getpid(), mine, 1, theirs, 1, 0) == 8
    assert g.peek(target, 8) == b"transfer"
    assert g.process_vm_readv(1, mine, 1, theirs, 1, 0) == -errno.EPERM


# ---- System V IPC


def test_shared_memory(g: Guest) -> None:
    shmid = g.shmget(0, 10000, 0o1600)
    assert shmid >= 0
    try:
        at = g.shmat(shmid, 0, 0)
        assert at > 0 and at % 4096 == 0
        g.memory.write(at, b"here")
        again = g.shmat(shmid, 0x800000, 0o10000)  # SHM_RDONLY
        assert again == 0x800000 and g.peek(again, 4) == b"here"
        assert g.shmat(shmid, 0x800000, 0) == -errno.EINVAL
        with pytest.raises(Exception, match="no guest memory"):
            g.memory.write(again, b"x")
        kind = of_abi(SHM, g.abi)
        buf = g.room(g.size(kind))
        assert g.shmctl(shmid, IPC_STAT, buf) == 0
        found = g.load(kind, buf)
        assert (found.shm_segsz, found.shm_nattch, found.shm_perm.mode & 0o777) == (10000, 2, 0o600)
        assert found.shm_cpid == os.getpid() and found.shm_ctime > 10**9
        assert g.shmdt(at) == 0 and g.shmdt(at) == -errno.EINVAL
        assert g.shmctl(shmid, IPC_STAT, buf) == 0 and g.load(kind, buf).shm_nattch == 1
        assert g.shmdt(again) == 0
        assert g.memory.is_free(again, again + 12288)
        assert g.shmat(shmid, 0x800001, 0) == -errno.EINVAL
    finally:
        assert g.shmctl(shmid, IPC_RMID, 0) == 0
    assert g.shmat(shmid, 0, 0) in (-errno.EINVAL, -errno.EIDRM)


def test_semaphores(g: Guest) -> None:
    semid = g.semget(0, 3, 0o1600)
    assert semid >= 0
    try:
        assert g.semctl(semid, 0, 17, g.scalar(u16, 4, 5, 6)) == 0  # SETALL
        value = 9 << 32 if g.abi.order == ">" and g.abi.bits == 64 else 9  # union semun
        assert g.semctl(semid, 1, 16, value) == 0
        into = g.room(6)
        assert g.semctl(semid, 0, 13, into) == 0
        assert [g.load(u16, into + 2 * i) for i in range(3)] == [4, 9, 6]
        operations = g.put(b"".join(layout_of(Sembuf, g.abi).dump(Sembuf(sem_num=i, sem_op=d)) for i, d in ((0, -4), (2, 1))))
        assert g.semop(semid, operations, 2) == 0
        assert [g.semctl(semid, i, 12, 0) for i in range(3)] == [0, 9, 7]
        until = g.struct(Timespec, tv_sec=0, tv_nsec=1000)
        assert g.semtimedop(semid, operations, 1, until) == -errno.EAGAIN
        kind = of_abi(SEM, g.abi)
        buf = g.room(g.size(kind))
        assert g.semctl(semid, 0, 2 | 0x100, buf) == 0  # IPC_64 is ignored
        found = g.load(kind, buf)
        assert found.sem_nsems == 3 and found.sem_otime > 10**9
        assert g.semop(semid, operations, 0) == -errno.EINVAL
    finally:
        assert g.semctl(semid, 0, IPC_RMID, 0) == 0


def test_message_queues(g: Guest) -> None:
    msqid = g.msgget(0, 0o1600)
    assert msqid >= 0
    try:
        assert g.msgsnd(msqid, g.scalar(long, 7) and g.put(layout_of(long, g.abi).dump(7) + b"seven"), 5, 0) == 0
        kind = of_abi(MSG, g.abi)
        buf = g.room(g.size(kind))
        assert g.msgctl(msqid, IPC_STAT, buf) == 0
        found = g.load(kind, buf)
        assert (found.msg_qnum, found.msg_cbytes, found.msg_lspid) == (1, 5, os.getpid())
        into = g.room(32)
        assert g.msgrcv(msqid, into, 20, 7, 0o4000) == 5
        assert g.load(long, into) == 7 and g.peek(into + g.abi.bits // 8, 5) == b"seven"
        assert g.msgrcv(msqid, into, 20, 0, 0o4000) == -errno.ENOMSG
        assert g.msgsnd(msqid, g.scalar(long, -1), 0, 0) == -errno.EINVAL
    finally:
        assert g.msgctl(msqid, IPC_RMID, 0) == 0


def test_ipc_in_one_call(g: Guest) -> None:
    shmid = g.ipc(23, 0, 4096, 0o1600, 0, 0)
    assert shmid >= 0
    where = g.scalar(long, 0)
    assert g.ipc(21, shmid, 0, where, 0, 0) == 0
    at = g.load(long, where)
    g.memory.write(at, b"x")
    assert g.ipc(22, 0, 0, 0, at, 0) == 0 and g.ipc(24, shmid, IPC_RMID, 0, 0, 0) == 0
    msqid = g.ipc(13, 0, 0o1600, 0, 0, 0)
    assert g.ipc(11, msqid, 3, 0, g.put(layout_of(long, g.abi).dump(5) + b"abc"), 0) == 0
    into = g.room(32)
    old = g.put(layout_of(long, g.abi).dump(into) + layout_of(long, g.abi).dump(5))
    assert g.ipc(12, msqid, 20, 0o4000, old, 0) == 3 and g.load(long, into) == 5
    assert g.ipc(12 | 1 << 16, msqid, 20, 0o4000, into, 0) == -errno.ENOMSG
    assert g.ipc(14, msqid, IPC_RMID, 0, 0, 0) == 0
    semid = g.ipc(2, 0, 1, 0o1600, 0, 0)
    value = 7 << 32 if g.abi.order == ">" and g.abi.bits == 64 else 7
    assert g.ipc(3, semid, 0, 16, g.put(value.to_bytes(g.abi.bits // 8, "big" if g.abi.order == ">" else "little")), 0) == 0
    assert g.ipc(3, semid, 0, 12, where, 0) == 7
    assert g.ipc(1, semid, 1, 0, g.struct(Sembuf, sem_num=0, sem_op=-7), 0) == 0
    assert g.ipc(3, semid, 0, IPC_RMID, where, 0) == 0
    assert g.ipc(99, 0, 0, 0, 0, 0) == -errno.ENOSYS


def test_ipc_layouts() -> None:
    """Sizes as a C compiler gives them for asm-generic, and for this host."""
    sizes = {64: (112, 120, 88), 32: (84, 88, 64)}
    for abi in ABIS.values():
        assert tuple(layout_of(of_abi(kinds, abi), abi).size for kinds in (SHM, MSG, SEM)) == sizes[abi.bits]
    if HOST.name == "x86_64":
        assert layout_of(of_abi(SEM, HOST), HOST).size == 104


# ---- POSIX message queues, keys


def test_posix_message_queues(g: Guest) -> None:
    name = g.text(f"tinamou-test-{os.getpid()}")
    attr = g.struct(MqAttr, mq_maxmsg=4, mq_msgsize=64)
    mqd = g.mq_open(name, g.flag("open", "O_CREAT", "O_RDWR", "O_NONBLOCK"), 0o600, attr)
    if mqd == -errno.ENOSYS:
        return
    assert mqd >= 0
    assert g.mq_unlink(name) == 0
    assert g.mq_timedsend(mqd, g.put(b"hello"), 5, 3, 0) == 0
    now = g.struct(MqAttr)
    assert g.mq_getsetattr(mqd, 0, now) == 0
    assert (g.load(MqAttr, now).mq_maxmsg, g.load(MqAttr, now).mq_curmsgs) == (4, 1)
    buf, priority = g.room(64), g.room(4)
    assert g.mq_timedreceive(mqd, buf, 64, priority, 0) == 5
    assert g.peek(buf, 5) == b"hello" and g.load(u32, priority) == 3
    assert g.mq_timedreceive(mqd, buf, 64, 0, 0) == -errno.EAGAIN
    assert g.mq_notify(mqd, 0) == 0
    g.call("close", mqd)


def test_keys(g: Guest) -> None:
    key = g.add_key(g.text("user"), g.text("tinamou-test"), g.put(b"payload"), 7, -2)
    if key in (-errno.ENOSYS, -errno.EPERM, -errno.EACCES):
        assert g.keyctl(99, 0, 0, 0, 0) == -errno.EOPNOTSUPP
        return
    assert key > 0
    buf = g.room(32)
    assert g.keyctl(11, key, buf, 32, 0) == 7 and g.peek(buf, 7) == b"payload"
    assert g.keyctl(10, -2, g.text("user"), g.text("tinamou-test"), 0) == key
    assert g.keyctl(21, key, 0, 0, 0) == 0
    assert g.show("keyctl", 11, 1, 2, 3, 4).startswith("keyctl(KEYCTL_READ,")
