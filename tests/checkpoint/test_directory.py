"""Checkpoint directories: whole ones come back as they were, broken ones are refused in one clear line."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from tests.models import KINDS, new_translator, stack, translator
from workbench.checkpoint.directory import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    read_config,
    write_checkpoint,
)
from workbench.config import StackConfig
from workbench.decoding.translator import Translator
from workbench.errors import WorkbenchError
from workbench.text.tokenizer import TokenizerError

FILES = {
    "README.md",
    "config.json",
    "model.safetensors",
    "provenance.json",
    "sentencepiece.bpe.model",
    "tokenizer.json",
    "tokenizer_config.json",
}


def leaves(network):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(network))]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A sound directory of a network with task routing, to be copied and broken."""
    path = tmp_path_factory.mktemp("checkpoint") / "sound"
    translator("token", "target").save(path)
    return path


@pytest.fixture
def broken(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "broken")


def test_a_run_names_its_checkpoint(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run/checkpoint")
    for read in (read_config, Translator.load):
        with pytest.raises(CheckpointError, match=r"run is a run, .* is .*run/checkpoint\.$"):
            read(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoint")
    with pytest.raises(CheckpointError, match=r"has no config.json: it is not a checkpoint"):
        read_config(tmp_path / "run")


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_what_is_saved_comes_back(kind, tmp_path):
    model = translator(*kind)
    model.save(tmp_path / "it")
    assert {path.name for path in (tmp_path / "it").iterdir()} == FILES
    again = Translator.load(tmp_path / "it")
    assert again.config == model.config
    assert again.card == model.card
    assert again.name == "it"
    for a, b in zip(leaves(model.network), leaves(again.network), strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)


def test_an_assignment_by_hand_comes_back_and_has_no_tensor(tmp_path):
    model = new_translator("static-pair", stack("token", top_k=1, unit_gates=True))
    model.save(tmp_path / "it")
    again = Translator.load(tmp_path / "it")
    assert again.config == model.config
    assert again.config.encoder.router.assignment[:3] == ((0, 1), (2, 3), (0, 1))
    assert again.config.decoder.router.unit_gates
    names = load_file(tmp_path / "it/model.safetensors")
    assert [name for name in names if "router" in name] == [
        "model.decoder.layers.1.ffn.router.classifier.weight"
    ]
    for a, b in zip(leaves(model.network), leaves(again.network), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_halves_the_file_and_rounds_once(saved, tmp_path):
    model = translator("token", "target")
    model.save(tmp_path / "half", dtype="bfloat16")
    sizes = [(path / "model.safetensors").stat().st_size for path in (saved, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    again = read_checkpoint(tmp_path / "half").network
    for a, b in zip(leaves(model.network), leaves(again), strict=True):
        np.testing.assert_array_equal(np.asarray(a.astype(jax.numpy.bfloat16), np.float32), b)


@pytest.mark.parametrize("top_k", [1, 3])
def test_other_shapes_come_back_too(top_k, tmp_path):
    shape = stack("target", width=20, layers=3, experts=5, top_k=top_k, expert_layers=(0, 2))
    model = new_translator("dense", shape)
    model.save(tmp_path / "it")
    again = read_checkpoint(tmp_path / "it")
    assert again.config == model.config
    for a, b in zip(leaves(model.network), leaves(again.network), strict=True):
        np.testing.assert_array_equal(a, b)


def test_uneven_widths_come_back_however_they_add_up(tmp_path):
    """Large enough that a sum over the padded block rounds otherwise than one over the block itself."""
    model = new_translator(StackConfig(4, (24, 48, 200)), StackConfig(4, (16, 600)))
    model.save(tmp_path / "it")
    again = read_checkpoint(tmp_path / "it")
    for a, b in zip(leaves(model.network), leaves(again.network), strict=True):
        np.testing.assert_array_equal(a, b)
    name = "model.decoder.layers.0.fc1.weight"

    def fill(tensors):
        assert tensors[name].shape == (600, 32)
        tensors[name] = tensors[name].copy()
        tensors[name][599, 31] = 1e-20

    rewrite(tmp_path / "it", fill)
    with pytest.raises(CheckpointError, match=f"{name} is not zero where it should be padding"):
        read_checkpoint(tmp_path / "it")


def test_provenance_comes_back(tmp_path):
    model = translator()
    made = Checkpoint(model.config, model.network, "# Card", {"command": "train", "hash": "ab"})
    write_checkpoint(tmp_path / "it", made, model.tokenizer.save)
    assert read_checkpoint(tmp_path / "it").provenance == {"command": "train", "hash": "ab"}


def rewrite(path, change):
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors")


NORM = "model.encoder.layer_norm.weight"


def set_value(name, value):
    def change(tensors):
        tensors[name] = value(tensors[name])

    return change


def with_nan(array):
    array = array.copy()
    array[3] = np.nan
    return array


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop(NORM), rf"model\.safetensors lacks {NORM}\."),
        (lambda t: t.update(extra=np.zeros(2)), r"model\.safetensors has unknown extra\."),
        (set_value(NORM, lambda a: a[:-1]), rf"{NORM} has shape \[31\], expected \[32\]"),
        (set_value(NORM, lambda a: a[None]), rf"{NORM} has shape \[1, 32\], expected \[32\]"),
        (set_value(NORM, with_nan), rf"{NORM} holds NaN"),
        (set_value(NORM, lambda a: a + np.inf), rf"{NORM} holds NaN or infinite"),
        (set_value(NORM, lambda a: a.astype(np.int32)), rf"{NORM} is stored as I32, expected F32"),
    ],
    ids=["missing", "foreign", "short", "rank", "nan", "infinite", "integers"],
)
def test_a_wrong_tensor_is_named(broken, change, says):
    rewrite(broken, change)
    with pytest.raises(CheckpointError, match=says):
        Translator.load(broken)


def test_many_missing_tensors_are_counted(broken):
    rewrite(broken, lambda t: [t.pop(name) for name in list(t)[:7]])
    with pytest.raises(CheckpointError, match=r"lacks .*, .*, .* and 4 more\."):
        Translator.load(broken)


@pytest.mark.parametrize("keep", [0, 5, 100, -1000], ids=["empty", "start", "header", "tail"])
def test_a_file_cut_short_is_called_so(broken, keep):
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is cut short or damaged"):
        Translator.load(broken)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("config.json", r"has no config\.json"),
        ("model.safetensors", r"has no model\.safetensors"),
        ("sentencepiece.bpe.model", r"sentencepiece\.bpe\.model: No such file"),
        ("tokenizer_config.json", r"tokenizer_config\.json lists no languages"),
    ],
)
def test_a_missing_file_is_named(broken, file, says):
    (broken / file).unlink()
    (broken / "tokenizer.json").unlink()  # which could stand in for the SentencePiece model
    with pytest.raises(WorkbenchError, match=says):
        Translator.load(broken)


@pytest.mark.parametrize("file", ["README.md", "provenance.json", "tokenizer.json"])
def test_what_the_network_does_not_need_may_be_missing(broken, file):
    (broken / file).unlink()
    assert Translator.load(broken).config == translator("token", "target").config


def test_a_directory_that_is_none_is_called_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"There is no checkpoint directory .*nowhere"):
        Translator.load(tmp_path / "nowhere")


def ours(**changes):
    return lambda table: table["workbench"].update(changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda t: t.update(model_type="bert"),
            r"model_type is 'bert'.*Accepted: m2m_100, nllb-moe",
        ),
        (lambda t: t.pop("model_type"), "model_type is None"),
        (
            lambda t: t.update(model_type="m2m_100"),
            "says model_type 'm2m_100'.*describes 'task-moe'",
        ),
        (lambda t: t.pop("workbench"), "has no 'workbench' part"),
        (ours(colour=3), "workbench: unknown colour"),
        (lambda t: t["workbench"].pop("d_model"), "workbench: missing d_model"),
        (ours(d_model="32"), r"workbench\.d_model: '32' is not of type int"),
        (ours(d_model=True), r"workbench\.d_model: True is not of type int"),
        (ours(scale_embedding=1), r"scale_embedding: 1 is not of type bool"),
        (ours(languages=["eng_Latn", 7]), "languages: .* is not of type"),
        (ours(encoder=None), r"workbench\.encoder: None is not of type StackConfig"),
        (ours(d_model=30), "d_model 30 does not divide"),
        (lambda t: t["workbench"]["encoder"].update(heads=0), "heads >= 1"),
        (lambda t: t["workbench"]["decoder"]["router"].update(top_k=9), "top_k is 9"),
        (lambda t: t["workbench"]["decoder"]["router"].update(granularity="word"), "'word'"),
        (lambda t: t["workbench"]["decoder"]["router"].update(assignment=[[0, "1"]]), "assignment"),
        (lambda t: t["workbench"]["decoder"]["router"].update(assignment=[0, 1]), "assignment"),
        (lambda t: t["workbench"]["decoder"]["router"].update(assignment=[[0, 1]]), "1 rows for 4"),
        (lambda t: t["workbench"]["decoder"]["router"].update(unit_gates=1), "unit_gates"),
        (lambda t: t["workbench"]["decoder"]["router"].update(keys=[]), "list of its task keys"),
        (lambda t: t["workbench"].update(tasks=["en-xx"]), "'xx'"),
        (
            lambda t: t.update(activation_function="gelu"),
            "says activation_function 'gelu', but its 'workbench' part describes 'relu'",
        ),
        (lambda t: t.update(encoder_layers=-1), "says encoder_layers -1.*describes 2"),
        (lambda t: t.update(scale_embedding=False), "says scale_embedding False"),
    ],
)
def test_a_wrong_configuration_is_explained(broken, change, says):
    table = json.loads((broken / "config.json").read_text())
    change(table)
    (broken / "config.json").write_text(json.dumps(table))
    with pytest.raises(WorkbenchError, match=says) as caught:
        read_config(broken)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"model_type": ', "[]", "7", "\x00"])
def test_a_configuration_that_is_no_json_object_is_refused(broken, text):
    (broken / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        Translator.load(broken)


def test_a_configuration_for_other_weights_is_refused(broken):
    table = json.loads((broken / "config.json").read_text())
    table["workbench"]["encoder"]["feed_forward_widths"] = [24, 25]
    table["encoder_ffn_dim"] = 25
    (broken / "config.json").write_text(json.dumps(table))
    with pytest.raises(CheckpointError, match=r"expert_0\.fc1\.weight has shape \[24, 32\]"):
        Translator.load(broken)


def test_a_tokenizer_of_another_network_is_refused(broken, tmp_path):
    table = json.loads((broken / "tokenizer_config.json").read_text())
    table["extra_special_tokens"] += [f"x{i:02d}_Latn" for i in range(20)]
    (broken / "tokenizer_config.json").write_text(json.dumps(table))
    with pytest.raises(WorkbenchError, match=r"520 tokens.*vocabulary only 500"):
        Translator.load(broken)


def test_a_damaged_tokenizer_is_refused(broken):
    (broken / "sentencepiece.bpe.model").write_bytes(b"\x0a\x05nothing")
    with pytest.raises(TokenizerError, match="SentencePiece"):
        Translator.load(broken)


def test_a_directory_with_something_in_it_is_not_overwritten(tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not empty"):
        translator().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    with pytest.raises(CheckpointError, match="note is a file"):
        translator().save(tmp_path / "note")


def test_an_empty_directory_may_be_filled(tmp_path):
    (tmp_path / "it").mkdir()
    translator().save(tmp_path / "it")
    assert {path.name for path in (tmp_path / "it").iterdir()} == FILES


def test_the_example_on_a_card_names_the_directory_it_is_saved_in(tmp_path):
    model = translator()
    model.card = "# a\n\n```bash\necho x | workbench translate 'my a' -s en -t de\n```\n"
    model.save(tmp_path / "runs" / "b c")
    card = (tmp_path / "runs" / "b c" / "README.md").read_text()
    assert card == model.card.replace("'my a'", "'b c'")
    again = Translator.load(tmp_path / "runs" / "b c")
    again.card = card.replace("'b c'", "'checkpoints/b c'")
    again.save(tmp_path / "b c")
    assert (tmp_path / "b c" / "README.md").read_text() == again.card


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    model = translator()

    def full(directory):
        model.tokenizer.save(directory)
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"Cannot write .*it: No space left on device"):
        write_checkpoint(tmp_path / "it", Checkpoint(model.config, model.network), full)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_nothing_behind(tmp_path):
    model = translator()

    def interrupted(directory):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path / "it", Checkpoint(model.config, model.network), interrupted)
    assert not list(tmp_path.iterdir())


def test_other_dtypes_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="'int3': use float32, bfloat16, int8"):
        translator().save(tmp_path / "it", dtype="int3")
