"""The names that a user of `import workbench as wb` holds."""

import subprocess
import sys
from importlib import import_module

import pytest

import workbench as wb
from tests.models import captions, translator


@pytest.mark.parametrize("name", wb._HOMES)
def test_every_name_is_where_it_is_said_to_be(name):
    assert getattr(wb, name) is getattr(import_module(wb._HOMES[name]), name)
    assert name in dir(wb)


def test_a_name_that_is_none_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wb.nothing


def test_importing_it_imports_nothing_heavy():
    script = (
        "import sys, workbench, workbench.languages, workbench.config\n"
        "heavy = {'jax', 'flax', 'numpy', 'pandas', 'streamlit', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_the_contracts_example_runs_from_load_to_save(tmp_path):
    """As DESIGN's example: load, translate, trace, use, extract, prove, save."""
    translator("target", "target").save(tmp_path / "parent")
    model = wb.load(tmp_path / "parent")
    sources = list(captions()[:2])
    out = model.translate(sources, source="en", target="de", batch_size=8, max_length=8)
    assert isinstance(out[0], str)
    routes = wb.trace_routes(model, sources, source="en", target="de", references=["a", "b"])
    assert len(routes.to_frame()) > 0
    assert wb.expert_usage(routes).tasks == ("eng_Latn-deu_Latn",)
    small = wb.extract(model, tasks=["eng_Latn-deu_Latn"])
    again = small.translate(sources, source="en", target="de", batch_size=8, max_length=8)
    assert [o.token_ids for o in again] == [o.token_ids for o in out]
    small.save(tmp_path / "en-de")
    assert wb.load(str(tmp_path / "en-de")).name == "en-de"


def test_every_error_of_ours_is_a_workbench_error(tmp_path):
    with pytest.raises(wb.WorkbenchError):
        wb.load(tmp_path / "nowhere")
