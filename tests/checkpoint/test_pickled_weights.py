"""`.bin` weights: converted tensor by tensor, without PyTorch and without running anything in them."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import zipfile

import jax
import numpy as np
import pytest
from flax import nnx

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import workbench as wb  # noqa: E402
from tests.checkpoint.published import published, write  # noqa: E402
from workbench.checkpoint import CheckpointError  # noqa: E402
from workbench.checkpoint.pickled_weights import convert, read_pickled  # noqa: E402
from workbench.cli.main import main  # noqa: E402
from workbench.decoding.opening import open_checkpoint  # noqa: E402


def save(state, path, **options):
    torch.save(state, path, **options)
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A directory of an older `transformers`: two .bin shards with an index, tied weights, tables of sines."""
    path = tmp_path_factory.mktemp("bin")
    model = published("nllb-moe")
    write(model, path)
    (path / "model.safetensors").unlink()
    state = dict(model.state_dict())
    state["model.encoder.embed_positions.weights"] = torch.zeros(66, 32)
    names = list(state)
    first, second = names[: len(names) // 2], names[len(names) // 2 :]
    place = {}
    for number, part in enumerate((first, second), start=1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        save({name: state[name] for name in part}, path / file)
        place |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": place}
    (path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    model.save_pretrained(path.parent / f"{path.name}-safe")
    return path


@pytest.fixture
def copy(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "source")


def test_a_converted_checkpoint_is_the_same(sound, tmp_path, capsys):
    assert main(["convert", str(sound), "-o", str(tmp_path / "new")]) == 0
    assert "float32, ready to load" in capsys.readouterr().out
    again = write(published("nllb-moe"), tmp_path / "safe")
    models = [wb.load(tmp_path / "new"), wb.load(again)]
    for a, b in zip(*(jax.tree.leaves(nnx.state(m.network)) for m in models), strict=True):
        np.testing.assert_array_equal(a, b)
    assert models[0].provenance["operation"] == "convert"
    assert not list((tmp_path / "new").glob("*.bin*"))


def test_it_needs_no_torch(sound, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    convert(sound, tmp_path / "new", open_checkpoint, {})
    assert (tmp_path / "new" / "model.safetensors").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_strided_and_short_tensors_are_read_as_they_are(dtype, tmp_path):
    base = torch.arange(24.0).reshape(4, 6).to(getattr(torch, dtype))
    state = {
        "whole": base,
        "turned": base.T,
        "part": base[1:3, ::2],
        "again": base,
        "parameter": torch.nn.Parameter(base * 2),
        "none": base[:0],
        "scalar": base[1, 1],
    }
    found = read_pickled(save(state, tmp_path / "pytorch_model.bin"))
    assert "again" not in found  # the same view of the same storage: a tied weight
    assert set(found) == set(state) - {"again"}
    for name, tensor in found.items():
        array = tensor.array()
        assert array.shape == tensor.shape == tuple(state[name].shape)
        assert str(array.dtype) == dtype
        np.testing.assert_array_equal(
            array.astype(np.float32), state[name].detach().float().numpy()
        )


def test_weights_that_are_refused_by_name_are_not_loaded_directly(sound):
    with pytest.raises(CheckpointError, match=r"a pickle, which is never opened here.*convert"):
        wb.load(sound)


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def refused(copy, says, tmp_path):
    with pytest.raises(CheckpointError, match=says) as caught:
        convert(copy, tmp_path / "new", open_checkpoint, {})
    assert "\n" not in str(caught.value)
    assert ".new-" not in str(caught.value)  # where it was made, and is no longer
    assert {path.name for path in tmp_path.iterdir()} == {copy.name}


FIRST = "pytorch_model-00001-of-00002.bin"


def test_a_pickle_in_disguise_is_refused_and_not_run(copy, tmp_path):
    mark = copy / "ran"
    save({"a": Evil(mark)}, copy / FIRST)
    refused(copy, r"wants to make .*exec, which is no part of weights", tmp_path)
    (copy / FIRST).write_bytes(pickle.dumps(Evil(mark)))
    refused(copy, "older or foreign pickle, which is not opened", tmp_path)
    (copy / "model.safetensors").write_bytes(pickle.dumps(Evil(mark)) * 50)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is cut short or damaged"):
        wb.load(copy)
    assert not mark.exists()


def test_an_old_format_is_refused(copy, tmp_path):
    save({"a": torch.zeros(2)}, copy / FIRST, _use_new_zipfile_serialization=False)
    refused(copy, "older or foreign pickle", tmp_path)


def test_a_member_that_leads_out_of_the_archive_is_refused(copy, tmp_path):
    with zipfile.ZipFile(copy / FIRST, "a") as archive:
        archive.writestr("archive/../../evil", "x")
    refused(copy, r"a member named 'archive/\.\./\.\./evil', which leads out", tmp_path)


@pytest.mark.parametrize("keep", [0, 10, -2000])
def test_a_file_cut_short_is_refused(keep, copy, tmp_path):
    (copy / FIRST).write_bytes((copy / FIRST).read_bytes()[:keep])
    refused(copy, r"00001-of-00002\.bin is (not an archive|damaged|cut short)", tmp_path)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (4, 1)), (-1, (1,), (1,)), (0, (2,), (1, 1))],
)
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_view_that_reaches_out_of_its_storage_is_refused(offset, shape, strides, tmp_path):
    class Beyond:
        def __reduce__(self):
            arguments = (torch.zeros(4).storage(), offset, shape, strides, False, {})
            return torch._utils._rebuild_tensor_v2, arguments

    path = save({"a": Beyond()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="a lies outside of its storage"):
        read_pickled(path)


def test_a_missing_shard_is_named(copy, tmp_path):
    (copy / FIRST).unlink()
    refused(copy, f"has no {FIRST}, which pytorch_model.bin.index.json names", tmp_path)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"a": 3}, "'a' is int, not a tensor"),
        ([torch.zeros(1)], "holds list, not tensors"),
        ({"a": torch.zeros(2, dtype=torch.int64)}, "a is stored as int64, expected float32"),
        ({"a": torch.full((2,), torch.nan)}, "a holds NaN"),
        ({"a": torch.zeros(2)}, r"source, converted: model\.safetensors lacks model"),
    ],
)
def test_what_is_no_such_model_is_refused(state, says, copy, tmp_path):
    for file in copy.glob("*.bin*"):
        file.unlink()
    save(state, copy / "pytorch_model.bin")
    refused(copy, says, tmp_path)


def test_a_directory_without_such_files_is_refused(copy, tmp_path):
    for file in copy.glob("*.bin*"):
        file.unlink()
    refused(copy, r"has no pytorch_model\*\.bin", tmp_path)
