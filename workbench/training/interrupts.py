"""Ctrl-C and SIGTERM: they end a command, but a run between two steps only, and what is done is never lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

#: Seconds in which the same signal is an echo: `timeout`, `make` and others send it to their child once more.
_ECHO = 0.5
#: Seconds after which what a handler raised is raised again, and what tells that they are over; Windows has none.
_AGAIN = 0.25
_ALARM: int = getattr(signal, "SIGALRM", 0)


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it: it ends what Ctrl-C ends."""


class Interrupts:
    """The signals that came so far."""

    def __init__(self, pass_on: bool) -> None:
        #: Whether they raise wherever Python happens to be, as long as there is nothing to lose.
        self.at_once = False
        self._pass_on = pass_on
        self._noted: list[tuple[int, float]] = []

    def __call__(self) -> None:
        """Raise KeyboardInterrupt or `Terminated` for the first of them, if any."""
        if self._noted:
            self.end()

    @property
    def noted(self) -> bool:
        """Whether one came."""
        return bool(self._noted)

    @property
    def urgent(self) -> bool:
        """Whether it shall not wait: Ctrl-C came again. A scheduler that becomes impatient kills."""
        pressed = [at for number, at in self._noted if number == signal.SIGINT]
        again = bool(pressed) and pressed[-1] - pressed[0] > _ECHO
        return bool(self._noted) and (self.at_once or again)

    def end(self) -> NoReturn:
        """Raise for the first of them, or `Terminated` where another process got it."""
        raise _error(self._noted[0][0] if self._noted else signal.SIGTERM)

    def note(self, number: int, frame: Any) -> None:
        """The handler."""
        self._noted.append((number, time.monotonic()))
        if self.urgent:
            raise _error(number)
        if self._pass_on:
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def held_interrupts(together: bool = False) -> Iterator[Interrupts]:
    """Within it the first Ctrl-C or SIGTERM is only noted, and calling what this yields raises for it.

    Raised wherever Python happens to be, it would be swallowed inside a callback of the garbage collector, and
    the run would go on. A second Ctrl-C raises at once. Outside the main thread, which alone gets signals, and
    where they are ignored, as in a shell's background, nothing changes.

    together: this process is one of several, in which JAX handles SIGTERM and tells it to the others (see
        `workbench.training.mesh.stops_after`); Ctrl-C then is made one.
    """
    interrupts = Interrupts(pass_on=together)
    numbers = [signal.SIGINT] if together else [signal.SIGINT, signal.SIGTERM]
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, interrupts.note)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python.
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default if handler is None else handler)


class _Ending:
    """The handler of a process that signals end: raises, and again until it is heard."""

    def __init__(self) -> None:
        self._first, self._last = 0, -_ECHO

    def __call__(self, number: int, frame: Any) -> None:
        new = False
        if number != _ALARM:
            before, self._last = self._last, time.monotonic()
            self._first = self._first or number
            new = self._last - before > _ECHO
        if not new and _is_unwinding():
            return
        if _ALARM:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
        raise _error(self._first)


def raise_on_signals() -> None:
    """From now on SIGTERM raises `Terminated`, as Ctrl-C raises KeyboardInterrupt.

    What a handler raises may be swallowed, inside a callback of the garbage collector or a `try` of JAX. It is
    raised again then; but while files are cleaned up because of it, only for another Ctrl-C, not for an echo.
    """
    ending = _Ending()
    defaults: list[tuple[int, Any]] = [
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (_ALARM, signal.SIG_DFL),
    ]
    for number, default in defaults:
        if number and signal.getsignal(number) == default:  # neither ignored nor someone else's
            signal.signal(number, ending)


def default_signals() -> None:
    """Take `raise_on_signals` back; the signals then end the process without a word."""
    for number in (_ALARM, signal.SIGINT, signal.SIGTERM):
        if number and isinstance(signal.getsignal(number), _Ending):
            signal.signal(number, signal.SIG_IGN if number == _ALARM else signal.SIG_DFL)


def _is_unwinding() -> bool:
    """Whether code runs because of a KeyboardInterrupt: it cleans up, or says so."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _error(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
