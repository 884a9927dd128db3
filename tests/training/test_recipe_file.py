"""Recipe files: what extends what, values set from outside, and recipes written down again."""

import tomllib
from pathlib import Path

import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from workbench.nn.network import TranslationNetwork
from workbench.training.recipe import RecipeError, read_recipe, recipe_from, recipe_table
from workbench.training.recipe_file import read_table, to_toml, with_settings

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.toml"))


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_laid_over_the_one_it_extends(tmp_path):
    write(tmp_path / "base.toml", 'name = "base"\n[data]\na = 1\nb = [1, 2]\n[run]\nsteps = 5')
    write(tmp_path / "grid/middle.toml", 'extends = "../base.toml"\n[data]\nb = [3]')
    top = write(tmp_path / "grid/top.toml", 'extends = "middle.toml"\nname = "top"\n[model]\nx = 1')
    assert read_table(top) == {
        "name": "top",
        "data": {"a": 1, "b": [3]},
        "run": {"steps": 5},
        "model": {"x": 1},
    }


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "it.toml").write_bytes(b'\xef\xbb\xbfname = "it"\r\n[run]\r\nsteps = 5\r\n')
    assert read_table(tmp_path / "it.toml") == {"name": "it", "run": {"steps": 5}}


def test_a_circle_of_files_is_shown(tmp_path):
    for name, other in (("a", "b"), ("b", "c"), ("c", "./a")):
        write(tmp_path / f"{name}.toml", f'extends = "{other}.toml"')
    with pytest.raises(RecipeError, match=r"a\.toml extends itself in the end: .*b\.toml -> .*c\."):
        read_table(tmp_path / "a.toml")


def test_a_base_that_cannot_be_read_is_named_with_who_wants_it(tmp_path):
    top = write(tmp_path / "top.toml", 'extends = "none.toml"')
    with pytest.raises(RecipeError, match=r"none\.toml, which .*top\.toml extends: No such file"):
        read_table(top)
    write(top, "extends = 3")
    with pytest.raises(RecipeError, match=r"extends in .*top\.toml must name .*, got 3"):
        read_table(top)


def test_a_path_that_leads_nowhere_from_here_is_taken_from_its_recipe(tmp_path, monkeypatch):
    for place in ("here/text", "recipes/text", "recipes/start", "recipes/grid"):
        (tmp_path / place).mkdir(parents=True)
    write(
        tmp_path / "recipes/base.toml",
        'name = "it"\n[data]\ndirectory = "text"\ntokenizer = "none"\n[run]\nstart_from = "start"',
    )
    write(tmp_path / "recipes/grid/top.toml", 'extends = "../base.toml"')
    monkeypatch.chdir(tmp_path / "here")
    found = read_table("../recipes/grid/top.toml")
    assert found["data"] == {"directory": "text", "tokenizer": "none"}
    assert found["run"]["start_from"] == "../recipes/grid/../start"
    monkeypatch.chdir(tmp_path)
    assert read_table("recipes/base.toml")["data"]["directory"] == "recipes/text"


def test_settings_replace_values_of_any_type():
    table = {"name": "it", "run": {"steps": 1, "seed": 2}}
    found = with_settings(
        table,
        [
            "run.steps=20",
            "run.mesh=data=4,expert=2",
            "model.encoder_routing = token",
            'data.languages=["en", "de"]',
            "name='new'",
            "objective.dropout=0.5",
        ],
    )
    assert found == {
        "name": "new",
        "run": {"steps": 20, "seed": 2, "mesh": "data=4,expert=2"},
        "model": {"encoder_routing": "token"},
        "data": {"languages": ["en", "de"]},
        "objective": {"dropout": 0.5},
    }
    assert table == {"name": "it", "run": {"steps": 1, "seed": 2}}
    # A line break does not smuggle in a second key.
    assert with_settings({}, ["name=1\nrun = 2"]) == {"name": "1\nrun = 2"}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("run.steps", "write a key of the recipe and its value"),
        ("=3", "write a key of the recipe"),
        ("run..steps=3", "write a key of the recipe"),
        ("name.first=3", "name is no table"),
        ("name.first.second=3", "name is no table"),
        ("run.steps=many", r"run\.steps must be of type int, got 'many'"),
        ("run.step=3", r"Unknown key run\.step .*Did you mean run\.steps"),
        ("steps=3", "Unknown key steps"),
        ("data=3", "data must be a table"),
        ("extends=x", "Unknown key extends"),
        ("model.top_k=true", r"model\.top_k must be of type int, got True"),
    ],
)
def test_a_setting_that_cannot_be_names_its_key(setting, says, tmp_path):
    path = write(
        tmp_path / "it.toml", 'name = "x"\n[data]\ndirectory = "d"\nlanguages = ["en", "de"]'
    )
    assert read_recipe(path, ["run.steps=3"]).run.steps == 3
    with pytest.raises(RecipeError, match=says):
        read_recipe(path, [setting])


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=False),
    # Without what TOML cannot hold: surrogates, and the one control character that JSON leaves alone.
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f")),
)
NAMES = st.text("abcdefgh_", min_size=1)


@given(
    st.dictionaries(
        NAMES,
        st.one_of(
            VALUES, st.dictionaries(NAMES, st.one_of(VALUES, st.lists(VALUES))), st.lists(VALUES)
        ),
    )
)
def test_a_table_written_down_is_read_the_same(table):
    assert tomllib.loads(to_toml(table)) == table


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_is_sound(path):
    recipe = read_recipe(path)
    assert recipe.name.endswith(path.stem)
    config = recipe.model_config(recipe.data.vocabulary)
    nnx.eval_shape(lambda: TranslationNetwork(config, rngs=nnx.Rngs(0)))
    assert recipe_from(tomllib.loads(to_toml(recipe_table(recipe)))) == recipe
    if path.parent.name == "grid" and path.stem != "base":
        names = path.stem.removesuffix("-top-1")
        assert (path.stem != names) == (recipe.model.top_k == 1)
        routings = {recipe.model.encoder_routing, recipe.model.decoder_routing}
        if names.startswith(("static", "dense")):
            assert routings == {names}
        elif names.startswith("bilingual-"):
            assert routings == {"dense"} and recipe.data.directions == (names[-5:],)
        else:
            assert "-".join([recipe.model.encoder_routing, recipe.model.decoder_routing]) == names


def test_the_systems_of_the_grid_differ_in_routing_alone():
    grid = {
        path.stem: recipe_table(read_recipe(path)) for path in RECIPES if path.parent.name == "grid"
    }
    assert {"token-target", "target-target", "static-pair", "bilingual-en-fr"} <= grid.keys()
    assert len({table["name"] for table in grid.values()}) == len(grid)
    for name, table in grid.items():
        base = grid["base"]
        if not name.startswith("bilingual-"):  # they start anew, with a vocabulary of their own
            assert table["objective"] == base["objective"] and table["run"] == base["run"], name
        free = {"encoder_routing", "decoder_routing", "top_k"}
        for key in table["model"].keys() - free:
            assert table["model"][key] == base["model"][key], (name, key)
