"""The loop that waits for files, timers and virtual time while CPUs run in their own threads."""

from __future__ import annotations

import heapq
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinamou.machine.clock import VirtualTime

Action = Callable[[], object]


class Loop:
    """One thread runs it; `soon` may be called from any. Callbacks run with `lock` held, so they may touch devices."""

    def __init__(self, lock: threading.RLock | None = None, virtual: VirtualTime | None = None) -> None:
        self.lock: Any = lock or nullcontext()
        self.virtual = virtual
        self._selector = selectors.PollSelector()  # epoll refuses regular files and /dev/null
        self._files: dict[int, list[Action | None]] = {}
        self._always: set[int] = set()
        self._ready: deque[Action] = deque()
        self._timers: list[tuple[float, int, Action]] = []
        self._order = 0
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_r, selectors.EVENT_READ, None)
        self._stopping = False
        if virtual is not None:
            virtual.changed = self.wake

    # --- what callers ask for

    def reader(self, fd: int, action: Action | None) -> None:
        """Call `action` whenever `fd` can be read; None ends that."""
        self._watch(fd, 0, action)

    def writer(self, fd: int, action: Action | None) -> None:
        """Call `action` whenever `fd` can be written; None ends that."""
        self._watch(fd, 1, action)

    def _watch(self, fd: int, slot: int, action: Action | None) -> None:
        actions = self._files.setdefault(fd, [None, None])
        before = (actions[0] is not None, actions[1] is not None)
        actions[slot] = action
        mask = (selectors.EVENT_READ if actions[0] else 0) | (selectors.EVENT_WRITE if actions[1] else 0)
        if not mask:
            del self._files[fd]
            if fd in self._always:
                self._always.discard(fd)
            elif any(before):
                self._selector.unregister(fd)
        elif fd in self._always:
            pass
        elif any(before):
            self._selector.modify(fd, mask, actions)
        else:
            try:
                self._selector.register(fd, mask, actions)
            except PermissionError:             # plain files and /dev/null cannot be waited for: always ready
                self._always.add(fd)

    def soon(self, action: Action) -> None:
        """Call `action` in the loop's thread as soon as possible."""
        self._ready.append(action)
        self.wake()

    def later(self, seconds: float, action: Action) -> Action:
        """Call `action` after that much host time; returns a function that cancels it."""
        self._order += 1
        live = [True]

        def run() -> None:
            if live[0]:
                action()

        heapq.heappush(self._timers, (time.monotonic() + seconds, self._order, run))
        self.wake()
        return lambda: live.__setitem__(0, False)

    def wake(self) -> None:
        """Make a waiting loop look again."""
        try:
            os.write(self._wake_w, b"w")
        except BlockingIOError:
            pass

    # --- running

    def _timeout(self, limit: float | None) -> float | None:
        waits = [] if limit is None else [limit]
        if self._timers:
            waits.append(self._timers[0][0] - time.monotonic())
        virtual = self.virtual
        if virtual is not None and not virtual.stepped and virtual._running:
            deadline = virtual.deadline
            if deadline is not None:
                waits.append((deadline - virtual.now) / 1e9)
        return max(0.0, min(waits)) if waits else None

    def once(self, limit: float | None = None) -> None:
        """Wait at most `limit` seconds for something to do, and do it."""
        if self._ready or self._always:
            limit = 0.0
        events = self._selector.select(self._timeout(limit))
        with self.lock:
            for key, mask in events:
                if key.data is None:
                    try:
                        os.read(self._wake_r, 4096)
                    except BlockingIOError:
                        pass
                    continue
                read, write = key.data
                if mask & selectors.EVENT_READ and read is not None:
                    read()
                if mask & selectors.EVENT_WRITE and write is not None and key.data[1] is write:
                    write()
            for fd in list(self._always):
                for action in self._files[fd] if fd in self._files else ():
                    if action is not None:
                        action()
            for _ in range(len(self._ready)):
                self._ready.popleft()()
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            if self.virtual is not None and not self.virtual.stepped:
                self.virtual.fire()

    def run(self) -> None:
        """Run until `stop`."""
        self._stopping = False
        while not self._stopping:
            self.once()

    def run_until(self, done: Callable[[], object], timeout: float = 60.0) -> bool:
        """Run until `done()` is true or `timeout` seconds passed; tells which."""
        end = time.monotonic() + timeout
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.once(left)
        return True

    def stop(self) -> None:
        """End `run` after the present round."""
        self._stopping = True
        self.wake()

    def close(self) -> None:
        self._selector.close()
        os.close(self._wake_r)
        os.close(self._wake_w)
