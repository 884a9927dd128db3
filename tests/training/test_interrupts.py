"""Ctrl-C and SIGTERM: noted at first while a run trains, and as before afterwards; how they end a command."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from workbench.training.interrupts import Terminated, held_interrupts


@pytest.fixture(autouse=True)
def handlers():
    """Those that Python begins with, before and after."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, default) for number, default in defaults.items()}
    yield
    assert {number: signal.getsignal(number) for number in defaults} == defaults
    for number, handler in before.items():
        signal.signal(number, handler)


def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_the_first_ctrl_c_waits_and_the_second_does_not_unless_it_is_an_echo(monkeypatch):
    with held_interrupts() as interrupts:
        interrupts()
        press()
        press()
        assert interrupts.noted and not interrupts.urgent
        with pytest.raises(KeyboardInterrupt):
            interrupts()
        monkeypatch.setattr("workbench.training.interrupts._ECHO", -1.0)
        with pytest.raises(KeyboardInterrupt):
            press()
        assert interrupts.urgent


def test_sigterm_waits_however_often_it_comes(monkeypatch):
    monkeypatch.setattr("workbench.training.interrupts._ECHO", -1.0)
    with held_interrupts() as interrupts:
        press(signal.SIGTERM)
        press(signal.SIGTERM)
        with pytest.raises(Terminated):
            interrupts()


def test_with_nothing_to_lose_the_first_does_not_wait():
    with held_interrupts() as interrupts:
        interrupts.at_once = True
        with pytest.raises(Terminated):
            press(signal.SIGTERM)


# What the entry does with a command that writes a file, and that cannot be torn down.
COMMAND = """
import atexit, os, sys, time
from workbench.cli import info, main, output
atexit.register(os.abort)

def run(args):
    with output.whole_file(args.checkpoint) as path:
        path.write_text("half")
        print("first line")
        try:
            try:
                print("ready", file=sys.stderr, flush=True)
                time.sleep(60)
            except BaseException:  # as JAX does now and then
                pass
            time.sleep(60)
        finally:
            time.sleep(0.6)
            print("cleaned")

info.run = run
sys.argv[1:] = ["info", sys.argv[1]]
sys.exit(main.main())
"""


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_a_command_with_a_line_and_no_half_file(number, code, says, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path / "file")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "ready\n"
    assert [path.name.startswith(".file-") for path in tmp_path.iterdir()] == [True]
    process.send_signal(number)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (
        code,
        "first line\ncleaned\n",
        f"workbench: {says}.\n",
    )
    assert not list(tmp_path.iterdir())


def test_outside_the_main_thread_it_does_nothing():
    done = []

    def work():
        with held_interrupts() as check:
            check()
            done.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]
