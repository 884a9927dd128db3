"""Export: a dense checkpoint as a CTranslate2 directory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from workbench.checkpoint.staging import whole_directory
from workbench.config import ModelConfig
from workbench.decoding.translator import Translator
from workbench.engines.packages import QUANTIZATIONS, EngineError, need, without_progress_bars
from workbench.text.tokenizer import Tokenizer

_README = """# {name}, for CTranslate2

Made by the Task-MoE workbench from `{name}`; weights as {quantization}. Directions: {directions}.

```python
import ctranslate2, transformers

directory = "."  # where this file lies
translator = ctranslate2.Translator(directory)
tokenizer = transformers.AutoTokenizer.from_pretrained(directory, src_lang="{source}")

source = tokenizer.convert_ids_to_tokens(tokenizer.encode("{sentence}"))
[result] = translator.translate_batch([source], target_prefix=[["{target}"]], beam_size=1)
written = result.hypotheses[0][1:]  # after the language
print(tokenizer.decode(tokenizer.convert_tokens_to_ids(written)))
```
"""


def export(model: Translator, directory: str | Path, quantization: str = "float32") -> None:
    """Write `model` as a CTranslate2 directory, with its tokenizer and a README; nothing is left if that fails.

    Args:
        model: a dense network, in whatever way its checkpoint stored it.
        directory: must not exist, or be empty.
        quantization: of `QUANTIZATIONS`.

    Raises:
        EngineError: CTranslate2 is not installed, the network has experts, or the conversion fails.
        CheckpointError: `directory` cannot be written to.
    """
    check_dense(model.config, str(model.path or model.name))
    if quantization not in QUANTIZATIONS:
        raise EngineError(
            f"Unknown quantization {quantization!r}. Accepted: {', '.join(QUANTIZATIONS)}."
        )
    need("ctranslate2")
    with whole_directory(Path(directory)) as place:
        with tempfile.TemporaryDirectory() as scratch:
            dense = Path(scratch) / "m2m100"
            model.save(dense)
            convert(dense, place, quantization)
        model.tokenizer.save(place)
        (place / "README.md").write_text(_readme(model, quantization), encoding="utf-8")


def check_dense(config: ModelConfig, name: str) -> None:
    """Refuse a network with experts, which the other engines cannot read.

    Raises:
        EngineError: it has some.
    """
    if not config.is_dense:
        raise EngineError(
            f"{name} has experts, which other engines cannot read: cut out one task first, with workbench"
            f" extract {name} --task A-B --layout m2m100 -o DIR."
        )


def convert(dense: Path, place: Path, quantization: str) -> None:
    """CTranslate2's own converter on a checkpoint in the M2M100 layout; `place` may exist.

    Raises:
        EngineError: the converter refuses.
    """
    from ctranslate2.converters import TransformersConverter

    try:
        with without_progress_bars():
            TransformersConverter(str(dense)).convert(
                str(place), quantization=quantization, force=True
            )
    except (RuntimeError, ValueError, KeyError) as error:
        raise EngineError(f"CTranslate2 cannot convert this checkpoint: {error}") from error


def pieces_of(tokenizer: Tokenizer) -> list[str]:
    """CTranslate2's name of every token, by its id."""
    return [tokenizer.token(i) for i in range(tokenizer.vocab_size)]


def _readme(model: Translator, quantization: str) -> str:
    directions = model.config.directions
    task, more = directions[0], len(directions) - 12
    named = ", ".join(f"`{each}`" for each in directions[:12])
    source, target = (
        model.tokenizer.token(model.tokenizer.language_id(code))
        for code in (task.source, task.target)
    )
    return _README.format(
        name=model.name,
        quantization=quantization,
        directions=f"{named} and {more} more" if more > 0 else named,
        source=source.strip("_"),  # M2M100's own tokenizer calls __en__ so
        target=target,
        sentence="A man rides a horse.",
    )
