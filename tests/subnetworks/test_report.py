"""The report on what pruning lost."""

import json

import pytest

from tests.models import EN_DE, long_captions, made_up, translator
from workbench.errors import WorkbenchError
from workbench.evaluation.repetition import IN_WORDS
from workbench.evaluation.testset import TestSet
from workbench.subnetworks.prune import prune
from workbench.subnetworks.report import report
from workbench.tasks import Task

EN_CS = Task("eng_Latn", "ces_Latn")
SETS = [
    TestSet("captions", task, long_captions()[:8], long_captions(task.target)[:8])
    for task in (EN_DE, EN_CS)
]


@pytest.fixture(scope="module")
def found():
    model = translator("token", "token")
    small = prune(model, made_up(model.config), keep=0.5, name="half")
    return report(model, [small, model], SETS, batch_size=8, resamples=50)


def test_every_system_has_a_row_a_direction_and_their_mean(found):
    assert [(row.system, row.task) for row in found.rows] == [
        (system, task)
        for system in ("token-token", "half", "token-token (2)")
        for task in ("eng_Latn-deu_Latn", "eng_Latn-ces_Latn", "mean")
    ]
    first, second, mean = found.rows[3:6]
    assert mean.chrf == pytest.approx((first.chrf + second.chrf) / 2)
    assert mean.chrf_delta == pytest.approx((first.chrf_delta + second.chrf_delta) / 2)
    assert first.chrf_delta == pytest.approx(first.chrf - found.rows[0].chrf)
    assert 0 < first.chrf_ci < 10
    assert 0 <= first.repetition <= 1
    assert first.length_ratio > 0


def test_the_parent_does_not_differ_from_itself(found):
    for row in found.rows[6:]:
        assert (row.bleu_delta, row.chrf_delta, row.bleu_ci, row.bleu_p) == (0, 0, 0, 1)


def test_sizes_are_those_of_the_networks(found):
    whole, half, _ = found.sizes
    assert half.experts_by_layer == {"encoder 1": 2, "decoder 1": 2}
    assert (whole.experts, half.experts) == (8, 4)
    # Four experts and their router columns less.
    assert whole.parameters - half.parameters == 4 * (2 * 32 * 24 + 24 + 32 + 32)
    assert half.bytes == 4 * half.parameters


def test_it_is_text_and_json(found):
    table = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert table["parent"] == "token-token"
    assert table["rows"][0]["bleu_ci"] is None  # of the parent itself
    assert table["sizes"][1]["experts"] == 4
    text = str(found)
    assert "half" in text
    assert "encoder 1: 2, decoder 1: 2" in text
    assert "± half the 95 % interval" in text
    assert IN_WORDS in text
    frame = found.to_frame()
    assert list(frame.columns) == list(table["rows"][0])
    assert frame["chrf_delta"].tolist() == [row.chrf_delta for row in found.rows]


def test_there_must_be_something_to_report_on():
    with pytest.raises(WorkbenchError, match="no test set"):
        report(translator("token", "token"), [], [])
