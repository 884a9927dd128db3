"""`workbench translate`: one line in, one line out, whatever the lines hold."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.models import captions, translator
from workbench.cli import translate as command

SHORT = ("-s", "en", "-t", "de", "--max-length", "6")


def test_lines_come_out_in_order(
    checkpoints: dict[str, str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_BATCHES_AT_ONCE", 2)
    lines = captions()[:21]
    text = "\n".join(lines) + "\n"
    result = run(
        "translate", checkpoints["dense"], *SHORT, "--batch-size", "4", stdin=text.encode()
    )
    assert result.code == 0
    expected = translator("dense", "dense").translate(lines, "en", "de", max_length=6)
    assert result.out.split("\n") == [*expected, ""]
    assert "21 lines in" in result.err


def test_a_line_by_its_sentences(checkpoints: dict[str, str], run: Run) -> None:
    text = "A dog runs. A man sits."
    result = run("translate", checkpoints["dense"], *SHORT, "--by-sentence", stdin=text.encode())
    model = translator("dense", "dense")
    parts = model.translate(["A dog runs.", "A man sits."], "en", "de", max_length=6)
    assert result.out == " ".join(parts) + "\n"


def test_one_line_is_not_many(checkpoints: dict[str, str], run: Run) -> None:
    result = run("translate", checkpoints["dense"], *SHORT[:-1], "1", stdin=b"A dog runs.\n")
    assert "workbench: 1 line in " in result.err
    assert "warning: 1 translation was cut short by" in result.err


def test_odd_lines_stay_lines(checkpoints: dict[str, str], run: Run) -> None:
    rows = [
        b"\xef\xbb\xbfA dog runs.",
        b"",
        b"   ",
        b"bad \xff\xfe bytes",
        "👩‍👩‍👧 🇩🇪 كلب يركض".encode(),
        "one\u2028line\x0bhere\x85\r".encode(),
        b"a\x00b",
        b"dog " * 2000,
        b"no end",
    ]
    result = run("translate", checkpoints["dense"], *SHORT, stdin=b"\n".join(rows))
    assert result.code == 0
    lines = result.out.split("\n")
    assert len(lines) == len(rows) + 1 and lines[-1] == ""
    assert lines[1] == lines[2] == ""
    assert "standard input, line 4: not UTF-8" in result.err
    assert (
        lines[0]
        == translator("dense", "dense").translate("A dog runs.", "en", "de", max_length=6)[0]
    )


def test_nothing_in_nothing_out(checkpoints: dict[str, str], run: Run) -> None:
    result = run("translate", checkpoints["dense"], *SHORT)
    assert (result.code, result.out) == (0, "")


def test_files_and_json(checkpoints: dict[str, str], run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "in.gz", tmp_path / "out.jsonl"
    source.write_bytes(gzip.compress(b"A dog runs.\nA cat sleeps.\n"))
    result = run("translate", checkpoints["dense"], *SHORT, "-i", source, "-o", target, "--json")
    assert (result.code, result.out) == (0, "")
    records = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [record["source"] for record in records] == ["A dog runs.", "A cat sleeps."]
    assert records[0]["score"] < 0
    assert [path.name for path in tmp_path.iterdir()] != [] and len(list(tmp_path.iterdir())) == 2


def test_a_failure_leaves_the_old_output_alone(
    checkpoints: dict[str, str], run: Run, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.gz", tmp_path / "out.txt"
    source.write_bytes(gzip.compress(b"A dog runs.\n" * 50)[:-9])
    target.write_text("old", encoding="utf-8")
    run("translate", checkpoints["dense"], *SHORT, "-i", source, "-o", target).says(
        "not a whole gzip file"
    )
    assert target.read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-s", "ger", "-t", "en"), "Did you mean deu_Latn?"),
        (("-s", "de", "-t", "fr"), "does not translate deu_Latn-fra_Latn"),
        (("-s", "en", "-t", "de", "-i", "/no/file"), "/no/file: No such file"),
        (("-s", "en", "-t", "de", "-o", "/no/file"), "/no/file: there is no directory /no"),
        (("-s", "en", "-t", "de", "-o", "/tmp"), "/tmp: is a directory"),
    ],
)
def test_what_cannot_be_done(
    arguments: tuple[str, ...], says: str, checkpoints: dict[str, str], run: Run
) -> None:
    run("translate", checkpoints["dense"], *arguments).says(says)
