"""Ctrl-C during training: noted at first, then at once, and as before afterwards."""

import os
import signal
import threading

import pytest

from workbench.training.interrupts import held_interrupts


def test_the_first_ctrl_c_waits_for_the_check_and_the_second_does_not():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with held_interrupts() as check:
        check()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


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
