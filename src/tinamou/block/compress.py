"""Compression of clusters: raw deflate ("zlib"), deflate with header ("zlib-wrapped") and zstd frames ("zstd").

The compressors release the interpreter lock, so a thread pool around them uses all processors.
"""

from __future__ import annotations

import functools
import threading

from .errors import BlockError, CorruptImage
from .notation import Any


@functools.cache
def zstd_module() -> Any:
    """`compression.zstd` or its backport; raises `BlockError` naming the package when there is neither.

    Asked once: Python looks for a module that is not there in every folder, every time."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise BlockError("zstd compression needs the package backports.zstd: pip install 'tinamou[zstd]'") from None
    return zstd


def unpack(kind: str, data: bytes | bytearray | memoryview, length: int) -> bytes:
    """Exactly `length` bytes out of `data`, which may have trailing garbage; raises `CorruptImage`."""
    try:
        if kind == "zstd":
            engine = zstd_module().ZstdDecompressor()
            out: bytes = engine.decompress(data, length)
            while len(out) < length and not engine.eof:
                more = engine.decompress(b"", length - len(out))
                if not more:
                    break
                out += more
        else:
            import zlib

            out = zlib.decompressobj(15 if kind == "zlib-wrapped" else -15).decompress(data, length)
    except BlockError:
        raise
    except Exception as error:
        raise CorruptImage(f"Compressed cluster cannot be unpacked: {error}") from None
    if len(out) != length:
        raise CorruptImage(f"Compressed cluster is too short: {len(out)} of {length} bytes")
    return out


def pack_deflate(data: Any, level: int = -1, window: int = -12) -> bytes:
    """Raw deflate; `window` -12 is the 4 KiB window that old readers of qcow2 expect, 15 a stream with zlib header."""
    import zlib

    return zlib.compress(data, level, wbits=window)


_local = threading.local()


def pack_zstd(data: Any, level: int = 3) -> bytes:
    """One frame. Each thread keeps its compressor: making one costs more than packing a cluster."""
    engine = getattr(_local, "compressor", None)
    if engine is None or _local.level != level:
        engine = _local.compressor = zstd_module().ZstdCompressor(level=level)
        _local.level = level
    out: bytes = engine.compress(data, engine.FLUSH_FRAME)
    return out
