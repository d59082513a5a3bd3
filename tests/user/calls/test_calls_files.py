from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from support.guest_calls import ABIS, Guest
from tinamou.user.calls.attributes import Stat64, Statfs, Statfs64, Statx, TwoTimespecs, TwoTimevals, Utimbuf
from tinamou.user.calls.descriptors import Flock, Flock64, OwnerEx
from tinamou.user.calls.directories import Dirent, Dirent64
from tinamou.user.calls.files import OpenHow
from tinamou.user.layout import i32, i64, layout_of, long, off_t, u64
from tinamou.user.structs import Stat
from tinamou.user.syscall import Iovec

CWD = -100


def opened(g: Guest, path: Path, *flags: str, mode: int = 0o644) -> int:
    fd = g.openat(CWD, g.text(str(path)), g.flag("open", *flags), mode)
    assert fd >= 0, os.strerror(-fd)
    return int(fd)


def test_open_write_read(g: Guest, tmp_path: Path) -> None:
    fd = opened(g, tmp_path / "a", "O_CREAT", "O_RDWR", "O_EXCL")
    assert g.write(fd, g.put(b"hello world"), 11) == 11
    into = g.room(16)
    assert g.pread64(fd, into, 5, 6) == 5
    assert g.peek(into, 5) == b"world"
    assert g.pwrite64(fd, g.put(b"W"), 1, 6) == 1
    assert g.lseek(fd, 0, 0) == 0
    assert g.peek(into, 0) == b""
    parts = g.room(4), g.room(8)
    vector = g.put(b"".join(layout_of(Iovec, g.abi).dump(Iovec(iov_base=at, iov_len=n)) for at, n in zip(parts, (4, 8), strict=True)))
    assert g.readv(fd, vector, 2) == 11
    assert g.peek(parts[0], 4) + g.peek(parts[1], 7) == b"hello World"
    assert g.close(fd) == 0
    assert g.close(fd) == -errno.EBADF
    assert g.openat(CWD, g.text(str(tmp_path / "a")), g.flag("open", "O_CREAT", "O_EXCL"), 0) == -errno.EEXIST


def test_open_flags_come_back(g: Guest, tmp_path: Path) -> None:
    fd = opened(g, tmp_path / "a", "O_CREAT", "O_WRONLY", "O_APPEND")
    got = g.fcntl(fd, g.abi.flag_set("fcntl")["F_GETFL"], 0)
    wanted = g.flag("open", "O_WRONLY", "O_APPEND")
    assert got & ~g.flag("open", "O_LARGEFILE") == wanted
    assert g.fcntl(fd, 4, g.flag("open", "O_NONBLOCK")) == 0
    assert g.fcntl(fd, 3, 0) & ~g.flag("open", "O_LARGEFILE") == g.flag("open", "O_WRONLY", "O_NONBLOCK")
    shown = g.show("openat", CWD, g.text("x"), wanted, 0o600)
    assert "O_APPEND" in shown and "O_WRONLY" in shown
    g.close(fd)


def test_openat2(g: Guest, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "l").symlink_to("f")
    how = g.struct(OpenHow, flags=g.flag("open", "O_NOFOLLOW"), mode=0, resolve=0)
    assert g.openat2(CWD, g.text(str(tmp_path / "l")), how, 24) == -errno.ELOOP
    how = g.struct(OpenHow, flags=g.flag("open", "O_CLOEXEC"), mode=0, resolve=0)
    fd = g.openat2(CWD, g.text(str(tmp_path / "l")), how, 24)
    assert not os.get_inheritable(fd)
    g.close(fd)
    assert g.openat2(CWD, g.text("x"), how, 8) == -errno.EINVAL


def test_large_offsets(g: Guest, tmp_path: Path) -> None:
    fd = opened(g, tmp_path / "a", "O_CREAT", "O_RDWR")
    far = 5 << 32
    assert g.pwrite64(fd, g.put(b"x"), 1, far) == 1
    assert os.stat(tmp_path / "a").st_size == far + 1
    if g.abi.bits == 32:
        where = g.room(8)
        assert g.llseek(fd, 5, 7, where, 0) == 0
        assert g.load(i64, where) == far + 7
        assert g.ftruncate64(fd, far) == 0
        assert g.truncate64(g.text(str(tmp_path / "a")), far + 5) == 0
    else:
        assert g.lseek(fd, far, 0) == far
        assert g.ftruncate(fd, far + 5) == 0
    assert os.stat(tmp_path / "a").st_size == far + 5
    vector = g.struct(Iovec, iov_base=g.put(b"yz"), iov_len=2)
    low, high = (far, 0) if g.abi.bits == 64 else (0, 5)
    assert g.pwritev(fd, vector, 1, low, high) == 2
    into = g.room(2)
    vector = g.struct(Iovec, iov_base=into, iov_len=2)
    assert g.preadv2(fd, vector, 1, low, high, 0) == 2
    assert g.peek(into, 2) == b"yz"
    assert g.fallocate(fd, 3, 0, 4096) == 0  # KEEP_SIZE | PUNCH_HOLE
    assert g.lseek(fd, 0, 3) > 0  # SEEK_DATA
    assert g.sync_file_range(fd, far, 4096, 2) == 0
    assert g.fadvise64_64(fd, far, far, 3) == 0
    assert g.fadvise64_64(fd, far, far, 99) == -errno.EINVAL
    g.close(fd)


@pytest.mark.parametrize("abi", ABIS)
def test_bad_pointers(abi: str, tmp_path: Path) -> None:
    g = Guest(ABIS[abi])
    fd = opened(g, tmp_path / "a", "O_CREAT", "O_RDWR")
    assert g.openat(CWD, 0x10, 0, 0) == -errno.EFAULT
    assert g.openat(CWD, g.abi.mask - 5, 0, 0) == -errno.EFAULT
    assert g.write(fd, 0x10, 5) == -errno.EFAULT
    assert g.write(fd, g.memory.limit - 2, 5) == -errno.EFAULT
    assert g.pipe2(8, 0) == -errno.EFAULT
    assert g.statx(CWD, g.text("/"), 0, 0, 8) == -errno.EFAULT
    assert g.openat(CWD, g.put(b"x" * 5000), 0, 0) == -errno.ENAMETOOLONG
    g.close(fd)
    g.release()


def test_stat(g: Guest, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1_500_000_000_123456789, 1_600_000_000_987654321))
    real = os.stat(path)
    name = g.text(str(path))
    kind, call = (Stat, "newfstatat") if g.abi.bits == 64 else (Stat64, "fstatat64")
    buf = g.struct(kind)
    assert g.call(call, CWD, name, buf, 0) == 0
    found = g.load(kind, buf)
    assert (found.st_size, found.st_ino, found.st_mode, found.st_nlink) == (5, real.st_ino, real.st_mode, 1)
    assert (found.st_atime, found.st_atime_nsec) == (1_500_000_000, 123456789)
    assert (found.st_mtime, found.st_mtime_nsec) == (1_600_000_000, 987654321)
    fd = opened(g, path)
    assert g.call("fstat" if g.abi.bits == 64 else "fstat64", fd, buf) == 0
    assert g.load(kind, buf).st_ino == real.st_ino
    (tmp_path / "l").symlink_to("f")
    assert g.call("lstat" if g.abi.bits == 64 else "lstat64", g.text(str(tmp_path / "l")), buf) == 0
    assert stat.S_ISLNK(g.load(kind, buf).st_mode)
    x = g.struct(Statx)
    assert g.statx(CWD, name, 0, 0xFFF, x) == 0
    seen = g.load(Statx, x)
    assert (seen.stx_size, seen.stx_ino, seen.stx_mode, seen.stx_mtime.tv_nsec) == (5, real.st_ino, real.st_mode, 987654321)
    assert seen.stx_dev_minor == os.minor(real.st_dev)
    g.close(fd)


def test_statfs(g: Guest, tmp_path: Path) -> None:
    real = os.statvfs(tmp_path)
    if g.abi.bits == 64:
        buf = g.struct(Statfs)
        assert g.statfs(g.text(str(tmp_path)), buf) == 0
        found = g.load(Statfs, buf)
    else:
        buf = g.struct(Statfs64)
        assert g.statfs64(g.text(str(tmp_path)), 1, buf) == -errno.EINVAL
        assert g.statfs64(g.text(str(tmp_path)), g.size(Statfs64), buf) == 0
        found = g.load(Statfs64, buf)
    assert (found.f_bsize, found.f_blocks, found.f_namelen) == (real.f_bsize, real.f_blocks, real.f_namemax)


def test_layout_sizes() -> None:
    little, wide32, big, big32 = (ABIS[name] for name in ("generic64", "generic32", "generic64be", "generic32be"))
    assert [layout_of(Stat, abi).size for abi in (little, big)] == [128, 128]
    assert [layout_of(Stat64, abi).size for abi in (wide32, big32)] == [104, 104]
    assert {layout_of(Statx, abi).size for abi in ABIS.values()} == {256}
    assert [layout_of(Statfs, little).size, layout_of(Statfs64, wide32).size] == [120, 88]
    assert [layout_of(Flock, abi).size for abi in (little, wide32)] == [32, 16]
    assert layout_of(Flock64, wide32).offsets["l_start"] == 8


def test_directories(g: Guest, tmp_path: Path) -> None:
    names = {f"file-{i:02}-{'x' * i}" for i in range(40)}
    for name in names:
        (tmp_path / name).touch()
    for call, head in (("getdents64", Dirent64), ("getdents", Dirent)):
        fd = opened(g, tmp_path, "O_DIRECTORY")
        buf, seen = g.room(700), []
        while (got := g.call(call, fd, buf, 700)) > 0:
            data, at = g.peek(buf, got), 0
            while at < got:
                layout = layout_of(head, g.abi)
                entry = layout.load(data[at : at + layout.size])
                start = layout.offsets["d_reclen"] + (3 if head is Dirent64 else 2)
                seen.append(data[at + start : at + entry.d_reclen].split(b"\0")[0].decode())
                kind = entry.d_type if head is Dirent64 else data[at + entry.d_reclen - 1]
                assert kind == (4 if seen[-1] in (".", "..") else 8)
                at += entry.d_reclen
        assert got == 0
        assert sorted(seen) == sorted(names | {".", ".."})
        assert g.lseek(fd, 0, 0) == 0
        assert g.call(call, fd, buf, 8) == -errno.EINVAL
        g.close(fd)


def test_names(g: Guest, tmp_path: Path) -> None:
    p = {n: g.text(str(tmp_path / n)) for n in "abcdef"}
    assert g.mkdirat(CWD, p["a"], 0o700) == 0
    assert g.mkdir(p["a"], 0o700) == -errno.EEXIST
    (tmp_path / "b").write_text("b")
    assert g.linkat(CWD, p["b"], CWD, p["c"], 0) == 0
    assert g.symlinkat(g.text("target"), CWD, p["d"]) == 0
    buf = g.room(32)
    assert g.readlinkat(CWD, p["d"], buf, 3) == 3
    assert g.peek(buf, 4) == b"tarU"
    assert g.readlink(p["d"], buf, 32) == 6
    assert g.renameat2(CWD, p["c"], CWD, p["b"], 1) == -errno.EEXIST
    assert g.renameat2(CWD, p["c"], CWD, p["e"], 0) == 0
    assert g.rename(p["e"], p["f"]) == 0
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "d", "f"]
    assert g.unlinkat(CWD, p["a"], 0x200) == 0
    assert g.unlink(p["f"]) == 0
    assert g.rmdir(p["a"]) == -errno.ENOENT
    assert g.mknodat(CWD, p["a"], stat.S_IFIFO | 0o600, 0) == 0
    assert stat.S_ISFIFO(os.stat(tmp_path / "a").st_mode)
    here = os.getcwd()
    try:
        assert g.chdir(g.text(str(tmp_path))) == 0
        buf = g.room(4096)
        assert g.getcwd(buf, 4096) == len(str(tmp_path)) + 1
        assert g.peek(buf, len(str(tmp_path)) + 1) == str(tmp_path).encode() + b"\0"
        assert g.getcwd(buf, 2) == -errno.ERANGE
    finally:
        os.chdir(here)


def test_modes_owners_times_access(g: Guest, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("")
    name = g.text(str(path))
    assert g.fchmodat(CWD, name, 0o640) == 0 and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert g.chmod(name, 0o600) == 0 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert g.fchownat(CWD, name, 0xFFFFFFFF, 0xFFFFFFFF, 0) == 0
    times = {"access": {"tv_sec": 1000, "tv_nsec": 5}, "modification": {"tv_sec": 2000, "tv_nsec": 6}}
    from tinamou.user.structs import Timespec, Timeval

    made = {k: Timespec(**v) for k, v in times.items()}
    assert g.utimensat(CWD, name, g.struct(TwoTimespecs, **made), 0) == 0
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1000 * 10**9 + 5, 2000 * 10**9 + 6)
    if g.abi.bits == 32:
        made["access"] = Timespec(tv_sec=1 << 33, tv_nsec=7)
        assert g.utimensat_time64(CWD, name, g.struct(TwoTimespecs, wide=True, **made), 0) == 0
        assert path.stat().st_atime_ns == (1 << 33) * 10**9 + 7
    vals = g.struct(TwoTimevals, access=Timeval(tv_sec=3, tv_usec=4), modification=Timeval(tv_sec=5, tv_usec=6))
    assert g.utimes(name, vals) == 0
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (3_000_004_000, 5_000_006_000)
    assert g.utime(name, g.struct(Utimbuf, actime=8, modtime=9)) == 0
    assert (path.stat().st_atime, path.stat().st_mtime) == (8, 9)
    bad = g.struct(TwoTimevals, access=Timeval(tv_sec=3, tv_usec=1_000_000), modification=Timeval())
    assert g.utimes(name, bad) == -errno.EINVAL
    assert g.utimensat(CWD, name, 0, 0) == 0 and path.stat().st_mtime > 10**9
    assert g.faccessat(CWD, name, 4) == 0
    assert g.access(g.text(str(tmp_path / "none")), 0) == -errno.ENOENT
    assert g.faccessat2(CWD, name, 4, 0x200) == 0


def test_extended_attributes(g: Guest, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("")
    name, key = g.text(str(path)), g.text("user.colour")
    got = g.setxattr(name, key, g.put(b"blue"), 4, 0)
    if got == -errno.EOPNOTSUPP:
        assert g.getxattr(name, key, 0, 0) == got
        return
    assert got == 0
    assert g.setxattr(name, key, g.put(b"blue"), 4, 1) == -errno.EEXIST
    buf = g.room(64)
    assert g.getxattr(name, key, 0, 0) == 4
    assert g.getxattr(name, key, buf, 64) == 4 and g.peek(buf, 4) == b"blue"
    assert g.listxattr(name, buf, 64) >= 12 and b"user.colour\0" in g.peek(buf, 64)
    assert g.removexattr(name, key) == 0
    assert g.getxattr(name, key, buf, 64) == -errno.ENODATA


def test_copying(g: Guest, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"0123456789" * 10)
    source = opened(g, tmp_path / "in")
    target = opened(g, tmp_path / "out", "O_CREAT", "O_RDWR")
    at = g.scalar(i64, 5)
    assert g.copy_file_range(source, at, target, 0, 10, 0) == 10
    assert g.load(i64, at) == 15
    where = g.scalar(off_t, 20)
    assert g.sendfile(target, source, where, 3) == 3
    assert g.load(off_t, where) == 23
    if g.abi.bits == 32:
        where = g.scalar(i64, 30)
        assert g.sendfile64(target, source, where, 3) == 3
        assert g.load(i64, where) == 33
    fds = g.room(8)
    assert g.pipe2(fds, g.flag("open", "O_CLOEXEC")) == 0
    r, w = g.load(i32, fds), g.load(i32, fds + 4)
    assert not os.get_inheritable(r)
    assert g.splice(source, at, w, 0, 4, 0) == 4
    assert os.read(r, 9) == b"5678"
    vector = g.struct(Iovec, iov_base=g.put(b"abc"), iov_len=3)
    assert g.vmsplice(w, vector, 1, 0) == 3
    assert os.read(r, 9) == b"abc"
    assert os.pread(target, 99, 0)[:13] == b"5678901234012"
    for fd in (source, target, r, w):
        g.close(fd)


def test_locks(g: Guest, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(100))
    fd = opened(g, tmp_path / "f", "O_RDWR")
    commands = g.abi.flag_set("fcntl")
    pid = os.fork()
    if not pid:  # a child holds a lock
        import fcntl
        import time

        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 20)
        (tmp_path / "ready").touch()
        time.sleep(30)
        os._exit(0)
    try:
        while not (tmp_path / "ready").exists():
            pass
        lock = g.struct(Flock, l_type=1, l_whence=0, l_start=0, l_len=0)
        assert g.fcntl(fd, commands["F_GETLK"], lock) == 0
        found = g.load(Flock, lock)
        assert (found.l_type, found.l_start, found.l_len, found.l_pid) == (1, 20, 10, pid)
        assert g.fcntl(fd, commands["F_SETLK"], g.struct(Flock, l_type=1, l_start=25, l_len=1)) == -errno.EAGAIN
        assert g.fcntl(fd, commands["F_SETLK"], g.struct(Flock, l_type=1, l_start=0, l_len=5)) == 0
        if g.abi.bits == 32:
            lock = g.struct(Flock64, l_type=1, l_whence=0, l_start=0, l_len=0)
            assert g.fcntl64(fd, commands["F_GETLK64"], lock) == 0
            found = g.load(Flock64, lock)
            assert (found.l_start, found.l_len, found.l_pid) == (20, 10, pid)
        lock = g.struct(Flock64, l_type=0, l_start=50, l_len=1)
        assert g.fcntl(fd, commands["F_OFD_SETLK"], lock) == 0
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert g.flock(fd, 2) == 0
    g.close(fd)


def test_fcntl_others(g: Guest) -> None:
    commands = g.abi.flag_set("fcntl")
    fds = g.room(8)
    assert g.pipe2(fds, 0) == 0
    r, w = g.load(i32, fds), g.load(i32, fds + 4)
    again = g.fcntl(r, commands["F_DUPFD_CLOEXEC"], 50)
    assert again >= 50 and g.fcntl(again, commands["F_GETFD"], 0) == 1
    assert g.fcntl(w, commands["F_GETPIPE_SZ"], 0) >= 4096
    owner = g.struct(OwnerEx, type=1, pid=os.getpid())
    assert g.fcntl(r, commands["F_SETOWN_EX"], owner) == 0
    back = g.struct(OwnerEx)
    assert g.fcntl(r, commands["F_GETOWN_EX"], back) == 0
    assert g.load(OwnerEx, back).pid == os.getpid()
    assert g.fcntl(r, 999, 0) == -errno.EINVAL
    assert g.dup3(r, again, 0) == again
    assert g.dup2(again, again) == again
    assert g.dup(r) > 0
    signo = g.abi.signals["USR1"]
    assert g.fcntl(r, commands["F_SETSIG"], signo) == 0
    assert g.fcntl(r, commands["F_GETSIG"], 0) == signo
    memory = g.memfd_create(g.text("m"), 2)
    assert g.fcntl(memory, commands["F_ADD_SEALS"], 2) == 0
    assert g.fcntl(memory, commands["F_GET_SEALS"], 0) == 2
    hint = g.scalar(u64, 2)
    assert g.fcntl(memory, commands["F_SET_RW_HINT"], hint) in (0, -errno.EINVAL)
    for fd in (r, w, again, memory):
        g.close(fd)


def test_close_range_spares_the_emulator(g: Guest) -> None:
    mine = os.dup(2)
    g.process.private_fds.add(mine)
    high = g.fcntl(1, 0, mine + 5)
    assert g.close_range(mine - 0, 0xFFFFFFFF, 4) == 0  # close-on-exec rather than closing what the test runner needs
    assert g.close(mine) == -errno.EBADF
    assert g.dup2(1, mine) == -errno.EBADF
    assert g.fcntl(high, 1, 0) == 1
    assert g.close_range(5, 4, 0) == -errno.EINVAL
    os.close(mine)
    os.close(high)


def test_sysroot(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "only-here").write_text("guest")
    g = Guest(ABIS["generic64"], sysroot=str(tmp_path).encode())
    fd = g.openat(CWD, g.text("/etc/only-here"), 0, 0)
    assert os.read(fd, 9) == b"guest"
    g.close(fd)
    fd = g.openat(CWD, g.text("/dev/null"), 0, 0)  # not below the prefix
    assert fd >= 0
    g.close(fd)
    assert g.access(g.text("/etc/only-here"), 0) == 0
    assert g.openat(CWD, g.text("etc/only-here"), 0, 0) == -errno.ENOENT
    g.release()


def test_handles(g: Guest, tmp_path: Path) -> None:
    from tinamou.user.calls.directories import FileHandle

    (tmp_path / "f").write_text("")
    handle = g.struct(FileHandle, handle_bytes=0, handle_type=1)
    number = g.room(4)
    got = g.name_to_handle_at(CWD, g.text(str(tmp_path / "f")), handle, number, 0)
    if got == -errno.EOPNOTSUPP:
        return
    assert got == -errno.EOVERFLOW
    size = g.load(FileHandle, handle).handle_bytes
    assert 0 < size <= 128
    handle = g.put(layout_of(FileHandle, g.abi).dump(FileHandle(handle_bytes=size)) + bytes(size))
    assert g.name_to_handle_at(CWD, g.text(str(tmp_path / "f")), handle, number, 0) == 0
    assert g.load(FileHandle, handle).handle_bytes == size


def test_strace_text(g: Guest, tmp_path: Path) -> None:
    name = g.text("/tmp/x")
    assert g.show("mkdirat", CWD, name, 0o755) == 'mkdirat(AT_FDCWD,"/tmp/x",0755)'
    assert g.show("unlinkat", CWD, name, 0x200) == 'unlinkat(AT_FDCWD,"/tmp/x",AT_REMOVEDIR)'
    assert g.show("faccessat", CWD, name, 5) == 'faccessat(AT_FDCWD,"/tmp/x",R_OK|X_OK)'
    assert g.show("fcntl", 3, 1, 0) == "fcntl(3,F_GETFD)"
    assert g.show("lseek", 3, -1, 2) == "lseek(3,-1,SEEK_END)"
    assert layout_of(long, g.abi).size == g.abi.bits // 8


def test_fcntl_in_strace(g: Guest) -> None:
    number = g.abi.flag_set("fcntl")
    flags = g.flag("open", "O_APPEND", "O_NONBLOCK")
    assert g.show("fcntl", 3, number["F_SETFL"], flags | 1) == "fcntl(3,F_SETFL,O_WRONLY|O_APPEND|O_NONBLOCK)"
    assert g.show("fcntl", 3, number["F_SETFL"], 0) == "fcntl(3,F_SETFL,O_RDONLY)"
    assert g.show("fcntl", 3, number["F_GETFD"], 77) == "fcntl(3,F_GETFD)"
    assert g.show("fcntl", 3, number["F_SETFD"], 1) == "fcntl(3,F_SETFD,1)"
    assert g.show("fcntl", 3, number["F_ADD_SEALS"], 3) == "fcntl(3,F_ADD_SEALS,F_SEAL_SEAL|F_SEAL_SHRINK)"
    assert g.show("fcntl", 3, number["F_SETSIG"], g.abi.signals["USR1"]) == "fcntl(3,F_SETSIG,SIGUSR1)"
    lock = g.struct(Flock, l_type=1, l_whence=0, l_start=5, l_len=6)
    assert "l_start = 5" in g.show("fcntl", 3, number["F_SETLK"], lock)
    assert g.show("fcntl", 3, number["F_GETLK"], 0) == "fcntl(3,F_GETLK,NULL)"
    assert g.show("fcntl", 3, 999, 5) == "fcntl(3,999,5)"
