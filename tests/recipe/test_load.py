import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.base.errors import RecipeError
from homeground.recipe import Recipe, bundled_recipes, commented_yaml, load_recipe
from homeground.recipe.load import _REMOVED
from homeground.recipe.reference import fields_below, section_of, summary
from homeground.recipe.yaml_text import dump, parse

EVERY_DEFAULT = json.loads(Path(__file__).with_name("every_default.json").read_text())
"""Every key that a recipe ever had, with each of its defaults."""


@pytest.fixture
def refused(tmp_path):
    """Write a recipe that must be refused; returns the error and the file."""
    file = tmp_path / "recipe.yaml"

    def load(text, overrides=None):
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(RecipeError) as caught:
            load_recipe(file, overrides)
        return caught.value, file

    return load


def test_the_bundled_default_says_every_default():
    assert load_recipe("default") == Recipe() == load_recipe()


def test_the_bundled_default_writes_every_key_with_its_meaning():
    text = commented_yaml(Recipe())
    written = [key for key in parse(text, "default")[1] if not any(isinstance(part, int) for part in key)]
    assert written == [key for key, _ in fields_below()]
    assert max(map(len, text.splitlines())) <= 120
    joined = " ".join(text.replace("#", " ").split())
    for key, field in fields_below():
        meaning = field.description if section_of(field) is None else summary(section_of(field))
        assert meaning, key
        assert " ".join(meaning.split()) in joined, key


@pytest.mark.parametrize("name", bundled_recipes())
def test_bundled_recipes_load(name):
    assert isinstance(load_recipe(name), Recipe)


@given(st.floats(1e-9, 1.0), st.integers(2, 64), st.sampled_from(["all-linear", ("q_proj", "v_proj")]))
@settings(max_examples=30, deadline=None)
def test_a_recipe_written_out_is_read_back_equal(tmp_path_factory, rate, group, targets):
    values = {"sft": {"learning_rate": rate}, "rl": {"group_size": group}, "model": {"lora": {"targets": targets}}}
    recipe = load_recipe(None, values)
    file = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    assert load_recipe(file) == recipe


def test_what_is_not_given_keeps_its_default(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("sft:\n  examples: 8\nrl:\n  # steps: 3\n")
    recipe = load_recipe(file)
    assert recipe.sft.examples == 8
    assert recipe.sft.epochs == Recipe().sft.epochs
    assert recipe.rl == Recipe().rl


@pytest.mark.parametrize(("text", "value"), [("5e-4", 5e-4), ("1E3", 1000.0), ("-.5e-1", None), ("2", 2.0)])
def test_numbers_are_read_as_people_write_them(tmp_path, text, value):
    file = tmp_path / "recipe.yaml"
    file.write_text(f"sft: {{learning_rate: {text}}}")
    if value is None:
        with pytest.raises(RecipeError, match=r"greater than 0, not -\.5e-1"):
            load_recipe(file)
    else:
        assert load_recipe(file).sft.learning_rate == value


def test_overrides_win_and_none_means_not_given(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("seed: 1\nsft: {examples: 8, epochs: 2}")
    recipe = load_recipe(file, {"seed": None, "sft": {"examples": 4, "epochs": None}})
    assert (recipe.seed, recipe.sft.examples, recipe.sft.epochs) == (1, 4, 2)


def nested(dotted, value):
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("key", EVERY_DEFAULT)
def test_a_key_of_any_earlier_version_loads_at_its_default(tmp_path, key):
    for value in EVERY_DEFAULT[key]:
        (tmp_path / "old.yaml").write_text(dump(nested(key, value)))
        load_recipe(tmp_path / "old.yaml")


def test_the_first_recipes_load_whole(tmp_path):
    lines = ["rl: {loss: gspo, scale: none, source: gateway, steps: 3}", "index: {dense_weight: 0.7}"]
    (tmp_path / "old.yaml").write_text("\n".join(lines))
    recipe = load_recipe(tmp_path / "old.yaml")
    assert (recipe.rl.objective, recipe.rl.advantage, recipe.rl.steps) == ("gspo", "none", 3)
    assert recipe.index.dense_weight == 0.7


def test_an_override_by_the_present_name_takes_the_place_of_a_former_name_in_the_file(tmp_path):
    (tmp_path / "old.yaml").write_text("rl: {loss: gspo, scale: none}")
    recipe = load_recipe(tmp_path / "old.yaml", {"rl": {"objective": "dapo"}})
    assert (recipe.rl.objective, recipe.rl.advantage) == ("dapo", "none")


def test_a_removed_key_that_was_changed_is_told_what_took_its_place(refused):
    error, file = refused("rl:\n  source: direct")
    assert error.message == "'rl.source' is no longer a setting: rollouts always run through the gateway"
    assert (error.where, error.hint) == (f"{file}:2", "remove it; only its former default, gateway, is ignored")


def test_a_removed_section_is_ignored_at_its_defaults(tmp_path, refused, monkeypatch):
    was = {"mode": None, "inner": {"rate": 0.1}}
    monkeypatch.setitem(_REMOVED, ("rl", "gone"), (was, "it moved to the examples"))
    for value in ("", "{}", "{mode: null}", "{inner: {rate: 0.1}, mode: null}"):
        (tmp_path / "old.yaml").write_text(f"rl:\n  gone: {value}\n  steps: 3")
        assert load_recipe(tmp_path / "old.yaml").rl.steps == 3
    error, _ = refused("rl: {gone: {inner: {rate: 0.2}}}")
    assert error.message == "'rl.gone' is no longer a setting: it moved to the examples"
    assert error.hint == "remove it; only its former default, {mode: null, inner: {rate: 0.1}}, is ignored"


def test_former_names_of_keys_are_told_of(refused):
    error, _ = refused("rl: {loss: gsp}")
    assert error.message.startswith("'rl.loss' must be 'grpo'")
    assert "dapo (2503.14476)" in error.hint
    error, _ = refused("rl: {loss: gspo, objective: grpo}")
    assert error.message == "'rl.loss' is the former name of 'rl.objective', which is given too"


def test_recipes_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().sft.examples = 3


def test_an_unknown_key_names_the_nearest_known_one(refused):
    error, file = refused("seed: 1\nsft:\n  learning_rat: 0.1\n")
    assert (error.message, error.where) == ("unknown key 'sft.learning_rat'", f"{file}:3")
    assert error.hint == "did you mean 'sft.learning_rate'?"


def test_a_key_in_the_wrong_section_is_told_where_it_belongs(refused):
    every = "did you mean 'sft.learning_rate' or 'rl.learning_rate' or 'tune.learning_rate'?"
    assert refused("learning_rate: 0.1")[0].hint == every
    assert refused("sft: {group_siz: 4}")[0].hint == "did you mean 'rl.group_size'?"


def test_a_key_like_no_other_gets_the_list(refused):
    assert refused("model: {lora: {zzz: 1}}")[0].hint.startswith("keys known here: r, alpha, dropout, targets")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("sft:\n  epochs: many", 2, "'sft.epochs' must be a whole number, not 'many'"),
        ("sft:\n  epochs: 1.5", 2, "'sft.epochs' must be a whole number, not 1.5"),
        ("sft: {clip: 'big'}", 1, "'sft.clip' must be a number, not 'big'"),
        ("\n\nrun: 5", 3, "'run' must be text, not 5"),
        ("model:\n  double_quant: 1", 2, "'model.double_quant' must be true or false, not 1"),
        ("model:\n  quantization: int4", 2, "'model.quantization' must be 'nf4', 'fp4', 'int8' or 'none', not 'int4'"),
        ("sft: 5", 1, "'sft' must be a mapping of keys, not 5"),
        ("corpus:\n  roots: src", 2, "'corpus.roots' must be a list, not 'src'"),
        ("corpus:\n  roots:\n    - a\n    - 5", 4, "'corpus.roots.1' must be text, not 5"),
        ("corpus: {roots: []}", 1, "'corpus.roots' must be a list with at least one item, not []"),
        ("model: {lora: {targets: 5}}", 1, "'model.lora.targets' must be text, not 5"),
        ("rl:\n  group_size: 1", 2, "'rl.group_size' must be greater than or equal to 2, not 1"),
        ("sft: {clip: .inf}", 1, "'sft.clip' must be a finite number, not .inf"),
    ],
)
def test_a_wrong_value_names_file_line_key_and_what_it_must_be(refused, text, line, message):
    error, file = refused(text)
    assert (error.message, error.where) == (message, f"{file}:{line}")
    assert error.hint


def test_the_hint_of_a_wrong_value_says_what_the_key_means(refused):
    assert refused("sft: {epochs: x}")[0].hint == "passes over the examples; the default is 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index: {dense_weight: 0, lexical_weight: 0.0}", "nothing would be found"),
        ("tasks: {min_chars: 50, max_chars: 40}", "no question would fit"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(refused, text, message):
    assert message in refused(text)[0].message


def test_several_mistakes_are_told_at_once(refused):
    error, file = refused("sft:\n  epochs: many\nrl:\n  stepz: 4")
    assert error.message.startswith("2 things are wrong")
    assert f"{file}:2: 'sft.epochs' must be" in error.message
    assert f"{file}:4: unknown key 'rl.stepz' (did you mean 'rl.steps'?)" in error.message


def test_a_wrong_override_is_not_blamed_on_the_file(refused):
    error, _ = refused("seed: 1", {"sft": {"epochs": 0}})
    assert error.where == "the overrides given on the command line"


def test_a_key_given_twice_is_refused(refused):
    error, file = refused("seed: 1\nsft: {}\nseed: 2")
    assert (error.message, error.where) == ("the key 'seed' is given twice, first on line 1", f"{file}:3")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("sft:\n  epochs: [1", 2, "expected ',' or ']'"),
        ("sft:\n\tepochs: 1", 2, "cannot start any token"),
        ("a: &x 1\nb: *x", 1, "'a': YAML reads &x as an anchor"),
        ("a: !!python/object/apply:os.system [id]", 1, "YAML reads !!python/object/apply:os.system as a tag"),
        ("- sft", 1, "a mapping of sections"),
    ],
)
def test_invalid_yaml_names_the_line(refused, text, line, message):
    error, file = refused(text)
    assert message in error.message
    assert error.where == f"{file}:{line}"
    assert error.hint


@pytest.mark.parametrize(
    ("text", "line", "message", "quoted"),
    [
        ("index:\n  exclude: [*.lock]", 2, "'index.exclude': YAML reads *.lock as an alias", "*.lock"),
        ("index:\n  exclude:\n    - a\n    - *.lock", 4, "'index.exclude': YAML reads *.lock as an alias", "*.lock"),
        ("index:\n  exclude:\n  - *.lock", 3, "'index.exclude': YAML reads *.lock as an alias", "*.lock"),
        ("index:\n  exclude:\n    - !tests/", 3, "'index.exclude.0': YAML reads !tests/ as a tag", "!tests/"),
        ("index:\n  exclude: [!tests/, a]", 2, "'index.exclude.0': YAML reads !tests/, as a tag", "!tests/"),
        ("index:\n  exclude: [! tests/]", 2, "'index.exclude': YAML reads ! as a tag", "!"),
        ("run: &a", 1, "'run': YAML reads &a as an anchor", "&a"),
        ("index: {}\nrun: &a b", 2, "'run': YAML reads &a as an anchor", "&a"),
        ("index: {}\nrun: @x", 2, "'run': YAML reads @x as a sign of its own", "@x"),
        ("run: %x", 1, "'run': YAML reads %x as a directive", "%x"),
        ("run: 007", 1, "'run': 007 begins with a zero", "007"),
        ("sft:\n  epochs: 010", 2, "'sft.epochs': 010 begins with a zero", "010"),
        ("run: 12", 1, "'run' must be text, not 12", "12"),
        ("agent:\n  env:\n    PORT: 8080", 3, "'agent.env.PORT' must be text, not 8080", "8080"),
        ("run: on", 1, "'run' must be text, not on", "on"),
        ("run: 1e5", 1, "'run' must be text, not 1e5", "1e5"),
        ("run: 2024-01-01", 1, "'run' must be text, not 2024-01-01", "2024-01-01"),
        ("run: 2024-13-45", 1, "'run': 2024-13-45 is no date", "2024-13-45"),
        ("corpus:\n  roots: [no]", 2, "'corpus.roots.0' must be text, not no", "no"),
        ("corpus:\n  2024-13-45: x", 2, "the key 2024-13-45 of 'corpus' is not text", "2024-13-45"),
        ("1: x", 1, "the key 1 of 'the recipe' is not text", "1"),
        ("run: !!bool maybe", 1, "'run': maybe is neither true nor false", "maybe"),
    ],
)
def test_what_yaml_reads_as_no_text_names_key_and_line_and_says_to_quote_it(refused, text, line, message, quoted):
    error, file = refused(text)
    assert message in error.message
    assert error.where == f"{file}:{line}"
    assert f'quote it: "{quoted}"' in error.hint


@pytest.mark.parametrize(
    "value", ["9" * 5000, "0x" + "f" * 5000, "0b" + "1" * 5000, "!!int x", "!!float x", "!!timestamp x"]
)
@pytest.mark.parametrize("key", ["seed", "run"])
def test_a_number_of_any_length_or_form_is_a_recipe_error_of_bounded_length(refused, key, value):
    error, file = refused(f"{key}: {value}")
    assert f"'{key}': " in error.message
    assert error.where == f"{file}:1"
    assert len(str(error)) < 500


@pytest.mark.parametrize(("text", "message"), [
    ("seed: 1:30", "'seed' must be a whole number, not '1:30'"),
    ("seed: .nan", "'seed' must be a whole number, not .nan"),
    ("seed: 1e400", "'seed' must be a whole number, not 1e400"), ("? [a]\n: b", "a key of 'the recipe' is a list"),
    ("sft:\n  clip: 1:30.5", "'sft.clip' must be a number"), ("<<: {seed: 1}", "unknown key '<<'"),
    ("run: !!binary aGk=", "YAML reads !!binary as a tag"), ("run: !!set {a}", "YAML reads !!set as a tag"),
])  # fmt: skip
def test_what_yaml_would_read_as_something_else_is_refused(refused, text, message):
    assert message in refused(text)[0].message


def test_a_tab_is_named_as_what_it_is(refused):
    assert refused("sft:\n\tepochs: 1")[0].hint == "indent with spaces, not with tabs"


@pytest.mark.parametrize("name", ["12:30:45", "2024-13-45", "007", "=", "no", "1e5", "*x", "0777"])
def test_a_quoted_text_stays_text_and_is_written_out_as_such(tmp_path, name):
    (tmp_path / "r.yaml").write_text(f'corpus:\n  roots: ["{name}"]')
    recipe = load_recipe(tmp_path / "r.yaml")
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert recipe.corpus.roots == load_recipe(tmp_path / "again.yaml").corpus.roots == (name,)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    (tmp_path / "r.yaml").write_bytes("run: caf\u00e9\n".encode(encoding))
    assert load_recipe(tmp_path / "r.yaml").run == "caf\u00e9"


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"a: \x00", b"[" * 20000])
def test_what_is_no_text_or_no_recipe_at_all_is_refused(refused, text):
    error, file = refused(text)
    assert error.where == str(file)
    assert error.hint


@given(st.text(alphabet=st.sampled_from("sft:rl {}[]-\n 0123*&!?|>'\"#,.e"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_a_recipe_or_a_recipe_error(tmp_path_factory, text):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text)
    with contextlib.suppress(RecipeError):
        assert isinstance(load_recipe(file), Recipe)


def test_a_missing_file_says_what_can_be_given(tmp_path):
    with pytest.raises(RecipeError, match="does not exist") as caught:
        load_recipe(tmp_path / "no.yaml")
    assert caught.value.where == str(tmp_path / "no.yaml")
    assert caught.value.hint == "give a YAML file, or a bundled recipe: default, demo"


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        load_recipe(tmp_path)


def test_an_override_of_any_size_is_a_recipe_error(refused):
    assert "not a number of" in refused("seed: 1", {"seed": 10**5000})[0].message


def test_asynchronous_rollouts_want_their_correction(refused):
    error, _ = refused("rl: {asynchronous: true}")
    assert "one step off-policy: set importance_cap above 0" in error.message


def test_openvino_names_the_backend_that_took_its_place(refused):
    error, file = refused("index:\n  embedder: all-minilm-l6-v2\n  backend: openvino\n")
    assert error.where == f"{file}:3"
    assert "'index.backend': OpenVINO is no longer a backend: set it to onnx" in error.message


def test_former_sections_for_off_policy_rollouts_are_ignored_at_their_defaults_and_name_the_example(refused, tmp_path):
    file = tmp_path / "former.yaml"
    file.write_text("rl:\n  luffy: {traces: null, per_group: 1, gamma: 0.1}\n  exgrpo: {share: 0.0, start: 0.35}\n")
    assert load_recipe(file) == load_recipe()
    error, _ = refused("rl:\n  exgrpo: {share: 0.5}\n")
    assert "'rl.exgrpo' is no longer a setting: rollouts from elsewhere join the groups in Python" in error.message
    assert "examples/off_policy.py" in error.message
