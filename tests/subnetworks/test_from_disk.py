"""Cutting from disk: the same weights as in memory, and no byte of an expert that nobody needs."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import EN_DE, TASKS, long_captions, made_up, new_translator, stack, translator
from workbench.checkpoint.selection import Selection
from workbench.checkpoint.tensor_files import read_tensor, stored_tensors
from workbench.config import RouterConfig, StackConfig
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.nn.dispatch import reference
from workbench.nn.held import Held
from workbench.nn.tiles import ExpertWeights
from workbench.subnetworks.extract import extract
from workbench.subnetworks.from_disk import DiskExtraction, write_pruned
from workbench.subnetworks.merge import merge
from workbench.subnetworks.proof import prove
from workbench.subnetworks.prune import keep_experts, pruned_config
from workbench.tasks import Task

EN_CS = Task("eng_Latn", "ces_Latn")
TARGETS = tuple(sorted({task.target for task in TASKS}))
BY_HAND = StackConfig(
    *(4, (24, 24), (1,), 6),
    RouterConfig("task", 2, "target", TARGETS, assignment=((0, 1), (3, 1), (2, 3), (5, 4))),
)
ONE_OF_SIX = stack("target", layers=3, experts=6, top_k=1, expert_layers=(0, 2))


@pytest.mark.parametrize(
    ("kind", "tasks"),
    [
        (("target", "target"), [EN_DE]),
        (("token", "target"), [EN_DE]),
        (("target", "target"), [EN_DE, EN_CS]),
        ((ONE_OF_SIX, "pair"), [EN_DE, EN_CS]),
        ((BY_HAND, "dense"), [EN_DE, EN_CS]),
    ],
)
def test_the_weights_are_those_that_extraction_in_memory_gives(kind, tasks, tmp_path):
    parent = new_translator(*kind, expert_output_scale=0.8)
    (tmp_path / "small").mkdir()
    parent.save(tmp_path / "parent")
    selection = Selection(tmp_path / "parent", parent.config)
    extraction = DiskExtraction(selection, tasks, "parent")
    small = extract(parent, tasks)
    assert extraction.config == small.config
    extraction.write(tmp_path / "small")
    small.save(tmp_path / "memory")
    theirs = stored_tensors(tmp_path / "memory")
    ours = stored_tensors(tmp_path / "small")
    assert list(ours) == list(theirs)
    for name, one in ours.items():
        np.testing.assert_allclose(
            read_tensor(one), read_tensor(theirs[name]), rtol=1e-6, atol=1e-7, err_msg=name
        )


@pytest.mark.parametrize("kind", ["token", "merged"])
def test_the_weights_are_those_that_pruning_in_memory_gives(kind, tmp_path):
    parent = new_translator("token", stack("sentence", layers=3, expert_layers=(0, 2)))
    if kind == "merged":  # its routers have more columns than there are experts
        parent = merge(parent, made_up(parent.config), keep=0.75, gates="sum")
    parent.save(tmp_path / "parent", "int8")
    parent = Translator.load(tmp_path / "parent")
    kept = {("encoder", 1): (0, 2), ("decoder", 2): (1, 2)}
    small = keep_experts(parent, kept, [EN_DE])
    (tmp_path / "small").mkdir()
    selection = Selection(tmp_path / "parent", parent.config)
    assert pruned_config(parent.config, kept, [EN_DE]) == small.config
    write_pruned(selection, kept, small.config, tmp_path / "small")
    small.save(tmp_path / "memory")
    theirs, ours = (stored_tensors(tmp_path / name) for name in ("memory", "small"))
    assert list(ours) == list(theirs)
    for name, one in ours.items():
        np.testing.assert_array_equal(read_tensor(one), read_tensor(theirs[name]), err_msg=name)


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("rchar:")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no count of bytes read")
def test_of_128_experts_only_those_of_the_task_are_read(tmp_path):
    many = stack("target", width=256, experts=128)
    parent = new_translator(many, many)
    parent.save(tmp_path / "parent")
    (tmp_path / "small").mkdir()
    stored = stored_tensors(tmp_path / "parent")
    expert = 4 * (2 * 32 * 256 + 256 + 32)
    rest = sum(t.size for name, t in stored.items() if ".expert_" not in name)
    with (tmp_path / "parent/model.safetensors").open("rb") as file:
        headers = 8 + int.from_bytes(file.read(8), "little")
    before = bytes_read()
    extraction = DiskExtraction(Selection(tmp_path / "parent", parent.config), [EN_DE], "parent")
    extraction.write(tmp_path / "small")
    read = bytes_read() - before
    # Two experts of each stack; the header and config.json besides, and of small tensors a whole buffer of the file's.
    wanted = rest + 4 * expert
    tensors = len(stored_tensors(tmp_path / "small"))
    assert wanted <= read < wanted + headers + 8192 * (tensors + 4)
    assert read < sum(t.size for t in stored.values()) / 8


def test_the_parent_is_proved_with_the_experts_at_hand_alone(tmp_path):
    parent = translator("target", "target")
    parent.save(tmp_path / "parent")
    extraction = DiskExtraction(Selection(tmp_path / "parent", parent.config), [EN_DE], "parent")
    network = extraction.parent_network()
    assert network.encoder.layers[1].ffn.w_in.shape[0] == 2  # of four
    held = Translator("parent", parent.config, parent.tokenizer, network)
    proof = prove(parent, held, long_captions()[:4], EN_DE, batch_size=8)
    assert (proof.identical, proof.different) == (4, 0)
    assert proof.largest_logit_difference < 1e-4
    other = next(
        task
        for task in TASKS
        if task.source == "eng_Latn"
        and set(extract(parent, [task]).provenance["kept_experts"]["decoder"]["1"])
        - set(extraction.kept[str(EN_DE)]["decoder"]["1"])
    )
    ids = [np.array([i], np.int32) for i in parent.config.task_ids(other)]
    tokens = np.array([[5, 6, 2]], np.int32)
    assert jnp.isnan(network(tokens, tokens, *ids)[0]).any()


def test_an_expert_that_is_not_held_makes_nan():
    random = np.random.default_rng(0)
    shapes = ((3, 4, 5), (3, 5), (3, 5, 4), (3, 4))
    whole = ExpertWeights(*(jnp.asarray(random.normal(size=s), jnp.float32) for s in shapes))
    part = ExpertWeights(*(array[jnp.array([2, 0])] for array in whole))
    x = jnp.asarray(random.normal(size=(3, 4)), jnp.float32)
    experts, gates = jnp.array([[0, 2], [2, 0], [0, 1]]), jnp.full((3, 2), 0.5)
    found = Held((2, 0), 3)(x, experts, gates, part)
    wanted = reference(x, experts, gates, whole)
    np.testing.assert_allclose(found[:2], wanted[:2], rtol=1e-5, atol=1e-6)
    assert jnp.isnan(found[2]).all()


def test_errors_come_before_anything_is_read(tmp_path):
    translator("token", "token").save(tmp_path / "token")
    selection = Selection(tmp_path / "token", translator("token", "token").config)
    with pytest.raises(WorkbenchError, match="not routed by task"):
        DiskExtraction(selection, [EN_DE], "token")


def test_a_value_that_is_no_number_is_refused(tmp_path):
    parent = new_translator("target", "target")
    bias = parent.network.decoder.layer_norm.bias
    bias[...] = bias[...].at[3].set(jnp.nan)
    parent.save(tmp_path / "parent")
    (tmp_path / "small").mkdir()
    extraction = DiskExtraction(Selection(tmp_path / "parent", parent.config), [EN_DE], "x")
    with pytest.raises(WorkbenchError, match=r"layer_norm\.bias holds NaN"):
        extraction.write(tmp_path / "small")
