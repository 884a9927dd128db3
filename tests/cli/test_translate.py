"""`workbench translate`: one line in, one line out, whatever the lines hold."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Result, Run
from tests.models import captions, translator
from workbench.cli import translate as command
from workbench.cli.main import main
from workbench.cli.partial import Done, partial_file
from workbench.decoding.system import System
from workbench.errors import WorkbenchError

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


def test_where_standard_streams_are_closed(
    checkpoints: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a scheduler may leave them."""
    source = tmp_path / "in.txt"
    source.write_text("A dog runs.\n", encoding="utf-8")
    arguments = ["translate", checkpoints["dense"], *SHORT]
    monkeypatch.setattr("sys.stdin", None)
    assert main([*arguments, "-i", str(source)]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert main(arguments) == 1
    assert "error: Standard input is closed: give a file with -i.\n" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdout", None)
    assert main([*arguments, "-i", str(source)]) == 1
    assert "error: Standard output is closed: give a file with -o.\n" in capsys.readouterr().err


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


def test_what_is_done_is_kept_and_the_same_command_goes_on(
    checkpoints: dict[str, str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "_BATCHES_AT_ONCE", 2)
    monkeypatch.setattr(command, "_MOST_BATCHES", 2)
    model = translator("dense", "dense")  # one for all, which is compiled once
    monkeypatch.setattr(command, "load_systems", lambda *_: [model])
    lines = sorted(captions(), key=len)[:9]
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    translate, asked = System.translate, []

    def interrupted(self: System, texts: list[str], *args: object, **options: object) -> object:
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.extend(texts)
        return translate(self, texts, *args, **options)  # type: ignore[arg-type]

    def go(*options: str) -> Result:
        common = (*SHORT, "--batch-size", "2", "-i", source, "-o", target)
        return run("translate", checkpoints["dense"], *common, *options)

    with monkeypatch.context() as patch:
        patch.setattr(System, "translate", interrupted)
        result = go()
    assert result.code == 130 and not target.exists()
    assert f"4 lines of {target} are kept: the same command goes on" in result.err
    kept = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path) if name[0] == "."}
    assert sorted(kept) == [".out.txt.partial", ".out.txt.partial.json"]
    assert kept[".out.txt.partial"].count(b"\n") == 4
    # What was written and not recorded is done again.
    (tmp_path / ".out.txt.partial").write_bytes(kept[".out.txt.partial"] + b"half a li")
    result = go()
    assert result.code == 0
    assert "going on from line 5: " in result.err and "9 lines, 4 of them before, in " in result.err
    assert sorted(os.listdir(tmp_path)) == ["in.txt", "out.txt"]
    expected = model.translate(lines, "en", "de", batch_size=2, max_length=6, with_scores=False)
    assert target.read_text(encoding="utf-8").split("\n") == [*expected, ""]

    # Of another command or another input nothing is taken over.
    for text, options, other in (
        (lines, ("--early-stopping",), "--early-stopping"),
        (["A dog runs.", *lines[1:]], (), "input"),
    ):
        for name, content in kept.items():
            (tmp_path / name).write_bytes(content)
        source.write_text("\n".join(text) + "\n", encoding="utf-8")
        result = go(*options)
        assert f"4 lines of {target} from before are of another {other}: starting" in result.err
        found = target.read_text(encoding="utf-8").split("\n")
        assert found[1:] == [*expected[1:], ""]
        assert (found[0] == expected[0]) is (text == lines)
        assert sorted(os.listdir(tmp_path)) == ["in.txt", "out.txt"]


def test_a_stream_that_cannot_be_rewound_is_compared_too() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    first = command.Lines(io.BytesIO(b"a\nb\n"), "-")
    assert list(first) == ["a", "b"]
    for kind in (io.BytesIO, Pipe):
        lines = command.Lines(kind(b"a\nb\nc\n"), "-")
        assert lines.skip(2, first.sha256)
        assert list(lines) == ["c"]
        lines = command.Lines(kind(b"a\nx\nc\n"), "-")
        assert not lines.skip(2, first.sha256)
        assert list(lines) == ["a", "x", "c"]


def test_one_process_writes_an_output(tmp_path: Path) -> None:
    path = str(tmp_path / "out.txt")
    with partial_file(path, {}) as output:
        output.add(b"one\n", Done(1))
        with pytest.raises(WorkbenchError, match="by another process"), partial_file(path, {}):
            pass
    assert Path(path).read_bytes() == b"one\n"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-s", "ger", "-t", "en"), "Did you mean deu_Latn?"),
        (("-s", "de", "-t", "fr"), "does not translate deu_Latn-fra_Latn"),
        (("-s", "en", "-t", "de", "-i", "/no/file"), "/no/file: No such file"),
        (("-s", "en", "-t", "de", "-o", "/no/file"), "/no/file: there is no directory /no"),
        (("-s", "en", "-t", "de", "-o", "/tmp"), "/tmp: is a directory"),
        (("-s", "en", "-t", "de", "-o", "/proc/x"), "/proc/x: nothing can be written in /proc"),
    ],
)
def test_what_cannot_be_done(
    arguments: tuple[str, ...], says: str, checkpoints: dict[str, str], run: Run
) -> None:
    run("translate", checkpoints["dense"], *arguments).says(says)
