"""Export to CTranslate2: what is written translates as the checkpoint does; refusals leave nothing behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.models import EN_DE, captions
from workbench.cli.main import main
from workbench.decoding.translator import Translator
from workbench.engines import packages
from workbench.engines.export import export
from workbench.engines.packages import EngineError
from workbench.subnetworks.extract import extract

TASK_MOE = Path(__file__).parents[2] / "checkpoints" / "captions-task-moe"


@pytest.fixture(scope="module")
def small() -> Translator:
    return extract(Translator.load(TASK_MOE), [EN_DE], "en-de")


@pytest.mark.slow
def test_the_readme_translates_as_the_checkpoint_does(small, tmp_path, capsys):
    small.save(tmp_path / "en-de", dtype="int8")
    place = tmp_path / "ct2"
    assert main(["export", str(tmp_path / "en-de"), "--to", "ctranslate2", "-o", str(place)]) == 0
    assert str(place) in capsys.readouterr().out
    [code] = re.findall(r"```python\n(.*?)```", (place / "README.md").read_text(), re.DOTALL)
    stored = Translator.load(tmp_path / "en-de")
    sentences = captions()[:5]
    for sentence, expected in zip(sentences, stored.translate(sentences, "en", "de"), strict=True):
        told = code.replace('"."', repr(str(place))).replace("A man rides a horse.", sentence)
        exec(told, {})
        assert capsys.readouterr().out.strip() == expected


def test_what_is_refused_leaves_nothing(small, tmp_path, capsys, monkeypatch):
    place = tmp_path / "ct2"
    assert main(["export", str(TASK_MOE), "--to", "ctranslate2", "-o", str(place)]) == 1
    assert "has experts" in (said := capsys.readouterr().err) and "workbench extract" in said
    with pytest.raises(EngineError, match="Unknown quantization 'int4'"):
        export(small, place, "int4")
    with monkeypatch.context() as patch:
        patch.setattr(packages, "find_spec", lambda name: None)
        with pytest.raises(
            EngineError, match=re.escape("pip install 'task-moe-workbench[engines]'")
        ):
            export(small, place)
    monkeypatch.setattr(
        "ctranslate2.converters.TransformersConverter.convert",
        lambda *_, **__: (_ for _ in ()).throw(ValueError("no such layer")),
    )
    with pytest.raises(EngineError, match="no such layer"):
        export(small, place)
    assert not list(tmp_path.iterdir())
