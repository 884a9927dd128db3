"""Ctrl-C while a run trains: it ends between two steps, and is never lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Within it the first Ctrl-C is only noted, and what this yields raises KeyboardInterrupt for it.

    Raised wherever Python happens to be, it would be swallowed inside a callback of the garbage collector, and
    the run would go on. A second Ctrl-C raises at once. Outside the main thread, which alone gets signals, and
    where they are ignored, as in a shell's background, nothing changes.
    """
    noted = False

    def note(number: int, frame: Any) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    def check() -> None:
        if noted:
            raise KeyboardInterrupt

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        # None: a handler that was not set from Python.
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
