"""A run goes on with its own recipe: what may change, and what the refusal says."""

import json

import pytest

from workbench.errors import WorkbenchError
from workbench.training.recipe import recipe_from, recipe_table
from workbench.training.recipe_changes import (
    changes,
    check_counts,
    check_goes_on,
    differences,
    in_words,
    recorded_recipe,
    refused,
)
from workbench.training.recipe_file import with_settings


def recipe(*settings):
    table = {"name": "it", "data": {"directory": "data", "languages": ["en", "de"]}}
    return recipe_from(with_settings(table, settings))


def test_what_reports_and_saves_may_change_and_the_length_where_the_schedule_allows_it(tmp_path):
    free = recipe("run.log_every=5", "run.save_every=7", "run.mesh=data=2", "name=other")
    assert refused(recipe(), free, 10) == {}
    assert len(changes(recipe(), free)) == 4
    assert set(refused(recipe(), recipe("run.steps=2000"), 10)) == {"run.steps"}
    constant = "objective.schedule=constant"
    assert refused(recipe(constant), recipe(constant, "run.steps=2000"), 10) == {}
    assert refused(recipe(constant), recipe(constant, "run.steps=10"), 20) == {
        "run.steps": (1000, 10)
    }
    here = tmp_path.cwd() / "data"
    assert changes(recipe(), recipe(f"data.directory={here}")) == {}


def test_text_may_move_if_it_is_as_much(tmp_path):
    moved = recipe("data.directory=elsewhere")
    assert refused(recipe(), moved, 10) == {}
    file = tmp_path / "metrics.jsonl"
    pairs = {"deu_Latn-eng_Latn": 3}
    file.write_text(json.dumps({"step": 0, "recipe": recipe_table(recipe()), "pairs": pairs}))
    assert check_counts(file, recipe(), moved, {"pairs": pairs, "new": 1}) == ""
    check_counts(file, recipe(), recipe(), {"pairs": {}})
    words = check_counts(file, recipe(), recipe(), {"pairs": {"deu_Latn-eng_Latn": 4}})
    assert words == "pairs.deu_Latn-eng_Latn (3, now 4)"
    with pytest.raises(WorkbenchError, match=r"elsewhere does not hold .* \(3, now 4\)"):
        check_counts(file, recipe(), moved, {"pairs": {"deu_Latn-eng_Latn": 4}})


def test_a_refusal_names_every_key_and_the_way_on(tmp_path):
    (tmp_path / "best/step-40").mkdir(parents=True)
    after = recipe("objective.learning_rate=1e-3", "run.seed=4")
    with pytest.raises(WorkbenchError) as error:
        check_goes_on(tmp_path, recipe(), after, 40)
    text = str(error.value)
    assert "objective.learning_rate (0.002, now 0.001), run.seed (0, now 4)." in text
    assert f"run.start_from={tmp_path / 'best/step-40'}" in text and "\n" not in text
    assert in_words(differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": "x"})) == (
        'a.b (1, now 2), c (none, now "x")'
    )


def test_the_newest_recorded_recipe_counts(tmp_path):
    file = tmp_path / "metrics.jsonl"
    assert recorded_recipe(file) is None
    lines = [{"step": n, "recipe": recipe_table(recipe(f"run.log_every={n}"))} for n in (1, 2)]
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"step": 3}]))
    found = recorded_recipe(file)
    assert found is not None and found.run.log_every == 2
    file.write_text('{"step": 0, "recipe": {"name": "of another version"}}\n')
    assert recorded_recipe(file) is None
