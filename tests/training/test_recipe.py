"""Recipes: what cannot be followed is refused, with the key's name."""

import copy
import math

import pytest

from workbench.errors import WorkbenchError
from workbench.training.recipe import RecipeError, read_recipe, recipe_from, recipe_table

TABLE = {"name": "it", "data": {"directory": "d", "languages": ["en", "de", "fr"]}}


def with_value(key, value):
    table = copy.deepcopy(TABLE)
    *path, last = key.split(".")
    place = table
    for step in path:
        place = place.setdefault(step, {})
    place[last] = value
    return table


def test_a_recipe_says_its_directions_and_its_network():
    table = with_value("data.pivot", "en")
    table["model"] = {"encoder_routing": "token", "decoder_routing": "target", "decoder_layers": 4}
    recipe = recipe_from(table)
    assert recipe.languages == ("deu_Latn", "eng_Latn", "fra_Latn")
    assert [str(task) for task in recipe.tasks] == [
        "deu_Latn-eng_Latn",
        "eng_Latn-deu_Latn",
        "eng_Latn-fra_Latn",
        "fra_Latn-eng_Latn",
    ]
    config = recipe.model_config(300)
    assert config.encoder.expert_layers == (1,)
    assert config.decoder.expert_layers == (1, 3)
    assert config.decoder.router.keys == ("deu_Latn", "eng_Latn", "fra_Latn")
    assert config.vocabulary == 300
    assert recipe_from(recipe_table(recipe)) == recipe


def test_directions_may_be_named_one_by_one():
    table = with_value("data.directions", ["fr-en", "English-German"])
    recipe = recipe_from(table)
    assert [str(task) for task in recipe.tasks] == ["eng_Latn-deu_Latn", "fra_Latn-eng_Latn"]
    assert recipe.model_config(300).directions == recipe.tasks
    assert recipe_from(recipe_table(recipe)) == recipe
    table["data"]["pivot"] = "en"
    with pytest.raises(
        RecipeError, match=r"data\.pivot, 'en', and data\.directions are both given"
    ):
        recipe_from(table)


def test_experts_may_be_assigned_by_hand():
    table = with_value("model.decoder_routing", "static-target")
    router = recipe_from(table).model_config(300).decoder.router
    assert router.keys == ("deu_Latn", "eng_Latn", "fra_Latn")
    assert router.assignment == ((0, 1), (2, 3), (4, 5))


def test_outputs_masked_in_training_are_scaled_down_at_inference():
    recipe = recipe_from(with_value("objective.expert_output_masking", 0.2))
    assert recipe.model_config(300).expert_output_scale == 0.8
    assert recipe.objective.options.output_masking == 0.2


def test_a_second_expert_needs_two_and_a_layer_must_get_them():
    table = with_value("objective.second_expert", "random")
    table["model"] = {"top_k": 1, "encoder_routing": "token"}
    with pytest.raises(RecipeError, match=r"model\.top_k 1 there is no second expert"):
        recipe_from(table)
    table["model"] = {"sparse_step": 3, "encoder_routing": "token"}
    with pytest.raises(RecipeError, match=r"\[model\]: No layer gets experts"):
        recipe_from(table)


def test_without_a_pivot_all_directions_are_meant():
    assert len(recipe_from(TABLE).tasks) == 6


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("objective.learning_rat", 1.0, r"learning_rat .*Did you mean objective\.learning_rate\?"),
        ("colour", 1, "Unknown key colour"),
        ("run.steps", "many", r"run\.steps must be of type int, got 'many'"),
        ("run.steps", 1.5, r"run\.steps must be of type int"),
        ("run.steps", True, r"run\.steps must be of type int"),
        ("run.steps", 0, r"run\.steps: must be at least 1"),
        ("data.languages", "en", r"data\.languages must be a list"),
        ("data.languages", ["en"], "at least two languages"),
        ("data.languages", ["en", "eng_Latn"], "names a language twice"),
        ("data.languages", ["en", "xx"], "'xx'"),
        ("data.pivot", "cs", "pivot is not among"),
        ("data.directions", "en-de", "must be a list"),
        ("data.directions", ["en-xx"], r"data\.directions: Unknown language 'xx'"),
        ("data.directions", ["en-cs"], r"'en-cs': ces_Latn is not among data\.languages"),
        ("data.directions", ["de-de"], "one language on both sides"),
        ("data.directions", ["ende"], "'ende' is not a task"),
        ("data.directions", ["en-de", "eng_Latn-deu_Latn"], "names one twice"),
        ("data.vocabulary", 0, "vocabulary: must be at least 1"),
        (
            "data.batch_tokens",
            10**12,
            r"batch_tokens must be at most 2,147,483,647, got 1,000,000,",
        ),
        ("data.temperature", 0, "must be above 0"),
        ("data.tokenizer_temperature", 0.0, "tokenizer_temperature: must be above 0"),
        ("data.tokenizer_lines", -1, "tokenizer_lines: must not be below 0"),
        ("data.tokenizer_lines", 1.5, "must be of type int"),
        ("data.longest_ratio", 0.5, "longest_ratio: must be above 1, or 0"),
        ("data.drop_duplicates", 1, "must be of type bool"),
        ("data.valid", 3, "must be of type str"),
        ("run.start_parts", "experts", "must be one of all, non-expert"),
        ("run.start_parts", "non-expert", r"start_parts: needs run\.start_from"),
        ("data.buckets", [32, 16], "must increase"),
        ("data.buckets", [], "lengths from 4"),
        ("data.buckets", [16, 512], "to model.max_positions, 256"),
        ("data.batch_tokens", 8, "must hold one sentence"),
        ("model.heads", 3, "must divide"),
        ("model.d_model", 0, "d_model: must be at least 1"),
        ("model.decoder_layers", 10**9, "decoder_layers: must be at most 1000"),
        ("model.top_k", 9, "from 1 to model.experts"),
        ("model.encoder_routing", "word", "must be one of dense, token"),
        ("model.unit_gates", 1, r"model\.unit_gates must be of type bool"),
        ("objective.capacity_factor", -1, "must not be below 0"),
        ("objective.second_expert", "none", "must be one of all, random, sampling"),
        ("objective.expert_output_masking", 1, "from 0 to below 1"),
        ("objective.dropout", 1.0, "from 0 to below 1"),
        ("objective.optimizer", "sgd", "must be one of adam, adafactor"),
        ("objective.compute", "float16", "must be one of float32, bfloat16"),
        ("objective.learning_rate", math.nan, "learning_rate must be a finite number, got nan"),
        ("objective.clip", -math.inf, "clip must be a finite number, got -inf"),
        ("data.temperature", 10**400, "temperature must be a finite number, got inf"),
        ("objective.learning_rate", -1e-3, "learning_rate: must be above 0"),
        ("objective.clip", 0, "clip: must be above 0"),
        ("objective.warmup_steps", -1, "warmup_steps: must not be below 0"),
        ("objective.load_balance", -0.01, "load_balance, .*must not be below 0"),
        ("objective.router_z", -0.01, "router_z: must not be below 0"),
        ("run.seed", -1, "seed: must not be below 0"),
        ("run.valid_sentences", 0, "valid_sentences: must be at least 1"),
        ("objective.accumulate", 0, "must be at least 1"),
        ("objective.accumulate", 257, "at most the rows of a batch"),
        ("objective.weight_decay", -0.1, "must not be below 0"),
        ("run.average", 1.0, r"run\.average: must be from 0 to below 1"),
        ("run.patience", -1, "must not be below 0"),
        ("run.final", "first", "must be one of last, best"),
        ("run.mesh", "data=2,model=2", r"run\.mesh 'data=2,model=2': give devices along"),
        ("run.mesh", "data=0", "give devices along"),
        ("run.mesh", "data", "give devices along"),
        ("run.mesh", "data=2,data=2", "named twice"),
        ("run.mesh", "expert=2", "a dense network has no experts"),
        ("run.save_every", 0, "must be at least 1"),
        ("model", 3, r"model must be a table \[model\]"),
    ],
)
def test_what_cannot_work_is_named(key, value, says):
    with pytest.raises(WorkbenchError, match=says):
        recipe_from(with_value(key, value))


def test_experts_must_divide_over_the_mesh():
    table = with_value("run.mesh", "data=2,expert=3")
    table["model"] = {"encoder_routing": "token", "experts": 8}
    with pytest.raises(RecipeError, match="8 experts do not divide over 3 devices"):
        recipe_from(table)
    table["model"]["experts"] = 9
    assert recipe_from(table).run.mesh == "data=2,expert=3"


def test_a_whole_number_may_stand_for_a_decimal():
    assert recipe_from(with_value("objective.learning_rate", 1)).objective.learning_rate == 1.0


@pytest.mark.parametrize("key", ["name", "data", "data.directory"])
def test_a_missing_key_is_named(key):
    table = copy.deepcopy(TABLE)
    *path, last = key.split(".")
    (table[path[0]] if path else table).pop(last)
    with pytest.raises(RecipeError, match=f"lacks the key {key}"):
        recipe_from(table)


def test_a_file_that_is_no_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"Cannot read the recipe .*none\.toml"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"bad\.toml is not TOML"):
        read_recipe(tmp_path / "bad.toml")
    (tmp_path / "good.toml").write_text(
        'name = "it"\n[data]\ndirectory = "d"\nlanguages = ["en", "de"]'
    )
    assert read_recipe(tmp_path / "good.toml").name == "it"
