"""Errors and stops on purpose, for tests: `inject-error`, `set-state`, breakpoints of `tinamou-io`.

Rules come from options (`inject-error.0.event=l2_update`) or from a file `config=` with sections `[inject-error]`,
`[set-state]` and lines `event = "l2_update"`. File name form: `blkdebug:CONFIG:IMAGE`.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence

from .. import options as opt
from ..node import BlockError, Filter, Options
from ..notation import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ..node import Buffer

EVENTS = frozenset(
    "none l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update "
    "l2_update_compressed l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio read_compressed write_aio "
    "write_compressed vmstate_load vmstate_save cow_read cow_write reftable_load reftable_grow reftable_update "
    "refblock_load refblock_update refblock_update_part refblock_alloc refblock_alloc_hookup refblock_alloc_write "
    "refblock_alloc_write_blocks refblock_alloc_write_table refblock_alloc_switch_table cluster_alloc "
    "cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev_rmw_head pwritev_rmw_after_head "
    "pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero pwritev_done empty_image_prepare l1_shrink_write_table "
    "l1_shrink_free_l2_clusters cor_write cluster_alloc_space".split()
)
IO_TYPES = ("read", "write", "write-zeroes", "discard", "flush", "block-status")


class Inject(Options):
    """`inject-error`: after `event`, requests of `iotype` that touch `sector` fail with `errno`."""

    event = opt.text("", "none")
    state = opt.number("", 0)
    iotype = opt.text("")
    errno = opt.number("", errno.EIO)
    sector = opt.text("", "-1")
    once = opt.flag("", False)
    immediately = opt.flag("", False)


class SetState(Options):
    """`set-state`: `event` in state `state` leads to state `new_state`."""

    event = opt.text("", "none")
    state = opt.number("", 0)
    new_state = opt.number("", 1)


class Blkdebug(Filter, name="blkdebug"):
    child_names = ("image",)
    main_child = "image"
    prefixes: ClassVar[tuple[str, ...]] = ("blkdebug",)

    class Open(Options):
        config = opt.text("Path to the configuration file")
        align = opt.size("Required alignment in bytes")
        max_transfer = opt.size("Maximum transfer size in bytes", key="max-transfer")
        opt_write_zero = opt.size("Optimum write zero alignment in bytes", key="opt-write-zero")
        max_write_zero = opt.size("Maximum write zero size in bytes", key="max-write-zero")
        opt_discard = opt.size("Optimum discard alignment in bytes", key="opt-discard")
        max_discard = opt.size("Maximum discard size in bytes", key="max-discard")

    opts: Open

    @classmethod
    def parse_filename(cls, filename: str) -> dict[str, Any]:
        config, colon, image = filename.removeprefix("blkdebug:").partition(":")
        if not colon:
            raise BlockError("blkdebug requires both config file and image path")
        return {"driver": "blkdebug", "image": {"filename": image}, **({"config": config} if config else {})}

    @classmethod
    def split_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Take the lists of rules out of the options; they are not plain values."""
        return {key: options.pop(key) for key in ("inject-error", "set-state") if key in options}

    def open(self) -> None:
        super().open()
        if not self.rules and not self.full_options.keys() - {"driver", "config"}:
            self.filename = f"blkdebug:{self.opts.config or ''}:{self.file.filename}"
        self.inject: list[Inject] = []
        self.states: list[SetState] = []
        self.state = 1
        self.armed: list[Inject] = []
        self.breakpoints: dict[str, list[str]] = {}
        self.stopped: dict[str, list[threading.Event]] = {}
        self.changed = threading.Condition()
        for rule in _listed(self.rules.get("inject-error")):
            self._add("inject-error", rule)
        for rule in _listed(self.rules.get("set-state")):
            self._add("set-state", rule)
        if self.opts.config:
            self._read_config(self.opts.config)
        self.debug_event("none")

    def _add(self, kind: str, rule: dict[str, Any]) -> None:
        made: Any
        if kind == "inject-error":
            made = Inject(rule)
            if made.iotype is not None and made.iotype not in IO_TYPES:
                raise BlockError(f"Invalid parameter '{made.iotype}' for 'iotype': expected one of {', '.join(IO_TYPES)}")
            self.inject.append(made)
        else:
            made = SetState(rule)
            self.states.append(made)
        made.event = made.event.lower().replace(".", "_").replace("-", "_")
        if made.event not in EVENTS:
            raise BlockError(f'Invalid event name "{made.event}"')

    def _read_config(self, name: str) -> None:
        try:
            with open(name, encoding="utf-8", errors="replace") as lines:
                text = lines.read(1 << 20)
        except OSError as error:
            raise BlockError(f"Could not read blkdebug config file: {os.strerror(error.errno or 0)}") from None
        section = ""
        rule: dict[str, Any] = {}
        for number, raw in enumerate([*text.splitlines(), "[end]"], 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                if section:
                    self._add(section, rule)
                section, rule = line.strip("[]").split()[0], {}
                if section not in ("inject-error", "set-state", "end"):
                    raise BlockError(f"{name}:{number}: unknown group '{section}'")
                continue
            key, eq, value = line.partition("=")
            if not eq or not section:
                raise BlockError(f"{name}:{number}: parse error")
            rule[key.strip()] = value.strip().strip('"')

    def allocated_bytes(self) -> int | None:
        return None

    def debug_event(self, event: str) -> None:
        state = self.state
        for rule in self.states:
            if rule.event == event and rule.state in (0, state):
                self.state = rule.new_state
        active = [rule for rule in self.inject if rule.event == event and rule.state in (0, state)]
        if active:
            self.armed = [*self.armed, *active] if event == "none" else active
        tags = self.breakpoints.pop(event, None)
        if tags:
            self._stop(tags)

    def _stop(self, tags: list[str]) -> None:
        gate = threading.Event()
        for tag in tags:
            print(f"blkdebug: Suspended request '{tag}'", flush=True)
        with self.changed:
            for tag in tags:
                self.stopped.setdefault(tag, []).append(gate)
            self.changed.notify_all()
        gate.wait()

    # What `tinamou-io` calls

    def set_break(self, event: str, tag: str) -> None:
        if event not in EVENTS:
            raise OSError(errno.ENOENT, "No such event")
        self.breakpoints.setdefault(event, []).append(tag)

    def resume(self, tag: str) -> bool:
        """Let a stopped request go on; False when there is none."""
        with self.changed:
            gates = self.stopped.pop(tag, [])
        if gates:
            print(f"blkdebug: Resuming request '{tag}'", flush=True)
        for gate in gates:
            gate.set()
        return bool(gates)

    def remove_break(self, tag: str) -> bool:
        found = False
        for event, tags in list(self.breakpoints.items()):
            if tag in tags:
                tags.remove(tag)
                found = True
            if not tags:
                del self.breakpoints[event]
        return self.resume(tag) or found

    def wait_break(self, tag: str, timeout: float | None = None) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: tag in self.stopped, timeout)

    def close(self) -> None:
        for tag in list(self.stopped):
            self.resume(tag)

    # Requests

    def _check(self, kind: str, pos: int, length: int) -> None:
        for rule in self.armed:
            if rule.iotype is not None and rule.iotype != kind:
                continue
            if rule.iotype is None and kind == "block-status":
                continue
            sector = int(rule.sector)
            if sector >= 0 and not pos <= sector * 512 < pos + length:
                continue
            if rule.once:
                self.armed = [r for r in self.armed if r is not rule]
                self.inject = [r for r in self.inject if r is not rule]
            raise OSError(rule.errno, os.strerror(rule.errno))

    def read_into(self, pos: int, view: memoryview) -> None:
        self._check("read", pos, len(view))
        super().read_into(pos, view)

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        self.debug_event("pwritev")
        self._check("write", pos, sum(map(len, buffers)))
        super().writev(pos, buffers)
        self.debug_event("pwritev_done")

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        self.debug_event("pwritev_zero")
        self._check("write-zeroes", pos, length)
        super().write_zeroes(pos, length, unmap)
        self.debug_event("pwritev_done")

    def discard(self, pos: int, length: int) -> None:
        self._check("discard", pos, length)
        super().discard(pos, length)

    def flush(self) -> None:
        self._check("flush", 0, 0)
        super().flush()


def _listed(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else None
    if items is None or not all(isinstance(item, dict) for item in items):
        raise BlockError("Rules are lists of options: inject-error.0.event=...")
    return items
