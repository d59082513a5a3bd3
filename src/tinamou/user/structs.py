"""Structures that more than one topic of system calls uses, as asm-generic lays them out."""

from __future__ import annotations

from .layout import Struct, i32, long, nsec_t, time_t, u32, ulong


class Timespec(Struct):
    """struct timespec; in wide layouts struct __kernel_timespec."""

    tv_sec: time_t
    tv_nsec: nsec_t


class Timeval(Struct):
    tv_sec: time_t
    tv_usec: time_t


class Stat(Struct):
    """struct stat of the 64-bit architectures that follow asm-generic/stat.h."""

    st_dev: ulong
    st_ino: ulong
    st_mode: u32
    st_nlink: u32
    st_uid: u32
    st_gid: u32
    st_rdev: ulong
    pad1: ulong
    st_size: long
    st_blksize: i32
    pad2: i32
    st_blocks: long
    st_atime: long
    st_atime_nsec: ulong
    st_mtime: long
    st_mtime_nsec: ulong
    st_ctime: long
    st_ctime_nsec: ulong
    unused4: u32
    unused5: u32


class Rusage(Struct):
    """struct rusage, getrusage(2)."""

    ru_utime: Timeval
    ru_stime: Timeval
    ru_maxrss: long
    ru_ixrss: long
    ru_idrss: long
    ru_isrss: long
    ru_minflt: long
    ru_majflt: long
    ru_nswap: long
    ru_inblock: long
    ru_oublock: long
    ru_msgsnd: long
    ru_msgrcv: long
    ru_nsignals: long
    ru_nvcsw: long
    ru_nivcsw: long
