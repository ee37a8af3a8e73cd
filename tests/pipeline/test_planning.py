"""What a plan says, when it refuses, and what it advises."""

import json
from dataclasses import replace

import jsonschema
import pytest
import torch

from homeground.base.errors import HomegroundError, UsageError
from homeground.base.sizes import Target, target
from homeground.cli import main
from homeground.pipeline.planning import LOOKUP_HITS, Work, config_of, planned, settings_on
from homeground.pipeline.remedies import plan_stage
from homeground.pipeline.workbench import CACHE_MB
from homeground.policy.base_model import dtype_of
from homeground.recipe import Recipe
from homeground.rollouts.cache import CacheNode
from homeground.rollouts.heads import HeadShape
from homeground.rollouts.tails import Tails
from tests.pipeline.test_documents import SCHEMAS
from tests.policy import tiny

ROOMY = Target("this machine's memory", 10**6, cuda=False, here=True)
CARD = Target("a card of 8 GB", 8000, cuda=True, here=False)
WORK = Work(((200, 100),) * 40, "a test")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    config = tiny.llama_config(num_hidden_layers=6, hidden_size=256, intermediate_size=1024, vocab_size=4000)
    folder = tiny.build(tmp_path_factory.mktemp("plan") / "model", config)
    return Recipe.model_validate({"model": {"name": str(folder), "quantization": "none", "compute_dtype": "fp32"}})


def test_items_add_up_and_lie_below_a_roomy_device(recipe):
    plan = plan_stage(recipe, "sft", ROOMY, WORK)
    document = plan.to_json()
    assert plan.fits
    assert plan.advice == []
    assert document["total_mb"] == pytest.approx(sum(document["items"].values()), abs=1)
    assert (document["tokens"], document["steps"], document["longest_forest"]) == (8000, 5, 1000)


def test_forests_of_different_sizes_leave_more_in_the_heap(recipe):
    even, uneven = (
        planned(recipe, "sft", ROOMY, Work(lengths, "a test"))
        for lengths in (((200, 100),) * 40, ((200, 100),) * 20 + ((20, 10),) * 20)
    )
    heap = "heap of the C library"
    assert even.forest == uneven.forest
    assert uneven.items.pop(heap) == pytest.approx(2.5 * even.items.pop(heap))
    assert even.items == uneven.items


def test_rl_needs_more_than_its_update(recipe):
    sft, rl = (planned(recipe, stage, ROOMY, None).items for stage in ("sft", "rl"))
    assert rl.keys() - sft.keys() == {"sampler's adapter", "keys and values", "reference adapter"}


def test_keys_and_values_are_what_the_sampler_takes(recipe):
    planned_mb = planned(recipe, "rl", ROOMY, None).items["keys and values"]
    config = config_of(recipe)
    dtype = dtype_of(settings_on(ROOMY, recipe.model).compute_dtype)
    size = config.hidden_size // config.num_attention_heads
    shape = (config.num_hidden_layers, config.num_key_value_heads, size, size)
    tails = Tails(HeadShape(*shape, dtype, torch.device("meta")), 1 << 40)
    rows = min(recipe.eval.batch, recipe.rl.tasks_per_step * recipe.rl.group_size)
    read, written = LOOKUP_HITS + recipe.rl.max_query_tokens, recipe.rl.max_answer_tokens
    tokens = torch.zeros(shape[0], shape[1], read, size, dtype=dtype, device="meta")
    tails.add([[CacheNode(None, [0] * read, tokens, tokens)]] * rows, [read + written] * rows)
    for _ in range(written):
        tails.widen()
        tails.lengths = [length + 1 for length in tails.lengths]
    assert planned_mb == pytest.approx(CACHE_MB * 1.048576 + tails.bytes / 1e6)


def test_a_device_that_is_too_small_gets_changes_that_really_help(recipe):
    whole = planned(recipe, "sft", ROOMY, WORK).total_mb
    tight = replace(ROOMY, memory_mb=whole - 40)
    plan = plan_stage(recipe, "sft", tight, WORK)
    assert not plan.fits
    assert 1 <= len(plan.advice) <= 3
    assert all(", fits; costs " in line for line in plan.advice)
    assert plan.advice[0].startswith("sft.forest_tokens: 512: ")
    with pytest.raises(HomegroundError) as error:
        plan.refuse()
    assert "imported process 900 MB" in str(error.value)
    assert "hint: sft.forest_tokens: 512" in str(error.value)
    assert "--force" in str(error.value)


def test_what_is_not_enough_alone_is_put_together(recipe):
    total = planned(recipe, "sft", ROOMY, WORK).total_mb
    least = min(_totals(recipe))
    assert least < total
    plan = plan_stage(recipe, "sft", replace(ROOMY, memory_mb=least - 1), WORK)
    assert ", not enough alone; costs " in plan.advice[0]
    assert plan.advice[-1].startswith("together ")
    assert plan.advice[-1].endswith(" MB, fits")


def test_what_never_fits_says_so(recipe):
    plan = plan_stage(recipe, "sft", replace(ROOMY, memory_mb=500), WORK)
    assert "still too large for this machine's memory: take a smaller model" in plan.advice[-1]


def _totals(recipe):
    from homeground.pipeline.remedies import changed, remedies

    return [planned(changed(recipe, r), "sft", ROOMY, WORK).total_mb for r in remedies(recipe, "sft", cuda=False)]


def test_a_card_counts_its_context_and_not_the_process(recipe):
    items = planned(recipe, "sft", CARD, WORK).items
    assert "CUDA context" in items
    assert "imported process" not in items


@pytest.mark.parametrize(("text", "mb"), [("8GB", 8000), ("12 GB", 12000), ("24gb", 24000), ("0.5GB", 500)])
def test_sizes_as_people_write_them(text, mb):
    assert target(text).memory_mb == mb
    assert target(text).cuda


def test_an_unknown_device_names_those_that_work():
    with pytest.raises(UsageError, match="unknown device 'eight'") as error:
        target("eight")
    assert "8GB" in str(error.value)


def test_cuda_asked_for_and_absent_says_what_to_name_instead(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(HomegroundError, match="no CUDA device here") as error:
        target("cuda")
    assert "--device 8GB" in str(error.value)


@pytest.fixture
def file(recipe, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(recipe.to_yaml())
    return str(path)


@pytest.mark.parametrize("device", ["8GB", "cpu"])
def test_the_verb_prints_the_document_of_its_schema(file, capsys, device):
    assert main(["plan", file, "--device", device, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads((SCHEMAS / "plan.json").read_text()))
    assert document["stage"] == "rl"
    assert document["seconds_from"].startswith("measured" if device == "cpu" else "assumed")


def test_named_data_is_planned_for_and_not_rl(file, tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"prompt": "a b", "completion": "c"}) + "\n")
    assert main(["plan", file, "--device", "8GB", "--json", "--data", str(data)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["stage"], document["steps"]) == ("sft", 1)


def test_the_verb_shows_a_table_and_what_would_help(file, capsys):
    assert main(["plan", file, "--device", "0.4GB", "--stage", "sft"]) == 0
    out = capsys.readouterr().out
    for words in (
        "sft on a card of 0.4 GB",
        "weights",
        "total",
        "it does not fit; what would help:",
        "assumed: a card",
    ):
        assert words in out


def test_a_wrong_key_and_an_unknown_model_are_answered(tmp_path, capsys):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("model:\n  quantisation: nf4\n")
    assert main(["plan", str(wrong)]) == 2
    assert "did you mean 'model.quantization'?" in capsys.readouterr().err
    wrong.write_text("model:\n  name: smollm3\n")
    assert main(["plan", str(wrong)]) == 1
    assert "unknown model 'smollm3'" in capsys.readouterr().err


def test_training_refuses_what_cannot_fit_unless_forced(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("homeground.base.sizes.free_memory_mb", lambda: -10_000)
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"prompt": "a b", "completion": "c"}) + "\n")
    arguments = ["sft", "--recipe", file, "--data", str(data), "--home", str(tmp_path / "home"), "--run", "r"]
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert "sft needs about" in err
    assert "--force" in err

    def reached(*_):
        raise HomegroundError("training was reached")

    monkeypatch.setattr("homeground.pipeline.finetune.fine_tune", reached)
    assert main([*arguments, "--force", "--quiet"]) == 1
    assert "training was reached" in capsys.readouterr().err
