"""The states of a run on disk: whole ones survive a full disk and damage, and give back the same bits."""

import errno
import os

import jax.numpy as jnp
import numpy as np
import pytest

from workbench.errors import WorkbenchError
from workbench.training.state import StateStore


def state(step):
    return {"w": jnp.full((3, 2), step, jnp.float32), "progress": np.array([step, 2**40])}


def test_the_last_two_states_are_kept_and_the_newest_is_given_back(tmp_path):
    store = StateStore(tmp_path / "state")
    assert store.restore(state(0)) is None
    for step in (1, 2, 3):
        store.save(step, state(step))
    store.close()
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["2", "3"]
    again = StateStore(tmp_path / "state")
    found = again.restore(state(0))
    np.testing.assert_array_equal(found["w"], state(3)["w"])
    assert found["progress"].tolist() == [3, 2**40]
    again.close()


def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path):
    store = StateStore(tmp_path)
    for step in (1, 2):
        store.save(step, state(step))
    store.close()
    for file in (tmp_path / "2").rglob("*"):
        if file.is_file() and "d" in file.parent.name and "METADATA" not in file.name:
            file.write_bytes(b"")
    store = StateStore(tmp_path)
    found = store.restore(state(0))
    np.testing.assert_array_equal(found["w"], state(1)["w"])
    store.save(2, state(2))  # made again
    store.close()
    assert StateStore(tmp_path).restore(state(0))["progress"][0] == 2


def test_a_full_disk_leaves_the_state_before_and_says_so(tmp_path, monkeypatch):
    store = StateStore(tmp_path)
    store.save(1, state(1))
    store.save(2, state(2))
    store._manager.wait_until_finished()

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)  # the last thing before a state counts
        store.save(3, state(3))
        with pytest.raises(WorkbenchError, match=r"No space left.*step 2 is intact; make room"):
            store.close()
    again = StateStore(tmp_path)
    assert again.latest == 2
    np.testing.assert_array_equal(again.restore(state(0))["w"], state(2)["w"])
    again.close()


def test_a_state_of_another_shape_is_refused(tmp_path):
    store = StateStore(tmp_path)
    store.save(1, state(1))
    with pytest.raises(WorkbenchError, match=r"w is \(3, 2\), not \(4, 2\)"):
        store.restore(state(1) | {"w": jnp.zeros((4, 2))})
    with pytest.raises(WorkbenchError, match=r"only one of them has more"):
        store.restore(state(1) | {"more": jnp.zeros(1)})
    store.close()
