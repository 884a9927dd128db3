"""Export to CTranslate2: what is written translates as the checkpoint does; refusals leave nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ctranslate2
import pytest
import torch
import transformers

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


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """The directory that `workbench extract --layout m2m100` writes."""
    place, some = (
        tmp_path_factory.mktemp("shipped") / "en-de",
        tmp_path_factory.mktemp("some") / "en",
    )
    some.write_text(captions()[0] + "\n")  # the proof on all captions has its own test
    command = ["extract", str(TASK_MOE), "--task", "en-de", "--layout", "m2m100", "-o", str(place)]
    assert main([*command, "--proof", str(some)]) == 0
    return place


@pytest.mark.slow
@pytest.mark.parametrize("beam_size", [1, 4])
def test_the_shipped_directory_translates_alike_with_nothing_of_ours(shipped, tmp_path, beam_size):
    """From text to text, by what a person would call: transformers' Auto classes, CTranslate2's command."""
    sentences = captions()[::2]
    ours = Translator.load(shipped).translate(
        sentences,
        "en",
        "de",
        beam_size=beam_size,
        batch_size=110,
        max_length=60,
        early_stopping=True,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(shipped, src_lang="eng_Latn")
    network = transformers.AutoModelForSeq2SeqLM.from_pretrained(shipped).eval()
    batch = tokenizer(sentences, return_tensors="pt", padding=True)
    with torch.inference_mode():
        written = network.generate(
            **batch,
            forced_bos_token_id=tokenizer.convert_tokens_to_ids("deu_Latn"),
            num_beams=beam_size,
            early_stopping=beam_size > 1,
            max_new_tokens=61,  # the language token counts
        )
    assert tokenizer.batch_decode(written, skip_special_tokens=True) == list(ours)
    converter = Path(sys.executable).with_name("ct2-transformers-converter")
    command = [converter, "--model", shipped, "--output_dir", tmp_path / "ct2"]
    subprocess.run(command, check=True, capture_output=True)
    engine = ctranslate2.Translator(str(tmp_path / "ct2"), compute_type="float32")
    results = engine.translate_batch(
        [tokenizer.convert_ids_to_tokens(tokenizer.encode(text)) for text in sentences],
        target_prefix=[["deu_Latn"]] * len(sentences),
        beam_size=beam_size,
        max_decoding_length=61,
    )
    texts = [
        tokenizer.decode(tokenizer.convert_tokens_to_ids(result.hypotheses[0][1:]))
        for result in results
    ]
    assert texts == list(ours)


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
