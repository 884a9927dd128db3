"""The teacher's text: every source once with its translation, shard by shard, whatever interrupts it."""

import json
import os
import signal

import pytest

from tests.models import EN_DE, captions, new_translator
from workbench.decoding.system import Translation
from workbench.errors import WorkbenchError
from workbench.tasks import Task
from workbench.text.pairs import Pairs, read_pairs
from workbench.training.teacher_text import write_teacher_text

DE_EN = Task("deu_Latn", "eng_Latn")


@pytest.fixture
def teacher():
    """A teacher that writes its sources backwards, but nothing for "mute" and no end for "endless"."""
    made = new_translator()
    made.calls = []

    def translate(sentences, source, target, **options):
        if made.calls and made.calls[-1] == "die":
            made.calls.pop()
            raise KeyboardInterrupt
        made.calls.append((f"{source}-{target}", len(sentences), options["beam_size"]))
        outputs = []
        for text in sentences:
            output = Translation("" if text == "mute" else text[::-1])
            output.truncated = text == "endless"
            outputs.append(output)
        options["progress"](len(sentences), len(sentences))
        return outputs

    made.translate = translate
    return made


@pytest.fixture
def pairs():
    sides = (("one", "mute", "two\r", "endless", "three"), ("eins", "x", "zwei", "y", "drei"))
    return Pairs({EN_DE: sides, DE_EN: sides[::-1]})


def test_translations_beside_their_sources_without_empty_and_endless_ones(teacher, pairs, tmp_path):
    told = []
    counts = write_teacher_text(
        teacher, pairs, tmp_path, shard=2, beam_size=3, progress=lambda *now: told.append(now)
    )
    assert counts == {
        "eng_Latn-deu_Latn": {"kept": 3, "empty": 1, "truncated": 1},
        "deu_Latn-eng_Latn": {"kept": 5, "empty": 0, "truncated": 0},
    }
    text = read_pairs(tmp_path, "train", [EN_DE, DE_EN])
    assert text.direction(EN_DE) == (["one", "two", "three"], ["eno", "\rowt", "eerht"])
    assert text.direction(DE_EN)[1] == ["snie", "x", "iewz", "y", "ierd"]
    assert [call[1] for call in teacher.calls] == [2, 2, 1, 2, 2, 1]
    assert {call[2] for call in teacher.calls} == {3}
    assert told == [(2, 10), (4, 10), (5, 10), (7, 10), (9, 10), (10, 10)]
    assert not (tmp_path / ".shards").exists()


def test_it_goes_on_with_the_first_shard_that_is_missing(teacher, pairs, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    write_teacher_text(teacher, pairs, whole, shard=2)
    calls, teacher.calls = teacher.calls, []

    def die(done, total):
        if done == 7:
            teacher.calls.append("die")

    with pytest.raises(KeyboardInterrupt):
        write_teacher_text(teacher, pairs, killed, shard=2, progress=die)
    (killed / ".shards" / "deu_Latn-eng_Latn" / "000001.partial").mkdir()  # as a kill leaves it
    told = []
    counts = write_teacher_text(
        teacher, pairs, killed, shard=2, progress=lambda *now: told.append(now)
    )
    assert teacher.calls == calls  # none twice
    assert told == [(2, 3), (3, 3)]
    for file in whole.glob("*.*"):
        assert (killed / file.name).read_bytes() == file.read_bytes()
    assert write_teacher_text(teacher, pairs, killed, shard=2) == counts
    assert teacher.calls == calls


def test_only_the_first_sources_of_each_direction_where_asked(teacher, pairs, tmp_path):
    counts = write_teacher_text(teacher, pairs, tmp_path, limit=1)
    assert [table["kept"] for table in counts.values()] == [1, 1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"beam_size": 2}, r"another beam \(1, now 2\)"),
        ({"limit": 3}, r"another eng_Latn-deu_Latn \(5 lines, now 3 lines\)"),
        ({"teacher": new_translator(seed=1)}, "another teacher"),
        ({"pairs": Pairs({EN_DE: (captions()[:5], captions()[:5])})}, "another eng_Latn-deu_Latn"),
    ],
)
def test_text_of_another_teacher_or_setting_is_not_mixed(teacher, pairs, tmp_path, change, says):
    write_teacher_text(teacher, pairs, tmp_path)
    options = {"teacher": teacher, "pairs": pairs, "directory": tmp_path, **change}
    with pytest.raises(WorkbenchError, match=says + r".*Choose another output directory"):
        write_teacher_text(**options)


def test_a_disk_that_refuses_is_one_line(teacher, pairs, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(WorkbenchError, match=r"No space left on device\. What is whole is kept"):
        write_teacher_text(teacher, pairs, tmp_path)
    assert json.loads((tmp_path / "made_from.json").read_text())["beam"] == 1


def test_ctrl_c_ends_it_once_the_shard_is_written(teacher, pairs, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        write_teacher_text(
            teacher,
            pairs,
            tmp_path,
            shard=3,
            progress=lambda *_: os.kill(os.getpid(), signal.SIGINT),
        )
    signal.signal(signal.SIGINT, before)
    assert [place.name for place in (tmp_path / ".shards" / str(EN_DE)).iterdir()] == ["000000"]
