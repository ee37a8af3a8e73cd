"""Adapters from elsewhere: what does not fit or would do harm is refused with the reason, at every door."""

import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from homeground.base.errors import HomegroundError
from homeground.policy import LoraConfig
from homeground.policy.export.weights import MergedWeights
from homeground.policy.shared_base import SharedBase

from . import tiny


@pytest.fixture(scope="module")
def made(llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "adapter"
    tiny.policy_of(llama).save_adapter(folder)
    return folder


@pytest.fixture
def adapter(made, tmp_path):
    return shutil.copytree(made, tmp_path / "adapter")


def change(adapter, **settings):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def retensor(adapter, edit):
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, {"format": "pt"})


DOORS = {
    "train": lambda base, adapter: tiny.policy_of(base, adapter=adapter, shaken=False),
    "serve": lambda base, adapter: SharedBase(tiny.settings_of(base)).policy(adapter),
    "export": lambda base, adapter: MergedWeights(base, adapter),
}


@pytest.fixture(params=DOORS)
def door(request):
    return DOORS[request.param]


def refused(door, base, adapter, match):
    with pytest.raises(HomegroundError, match=match) as caught:
        door(base, adapter)
    assert str(adapter) in caught.value.where
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_with_tensor_and_file(llama, adapter, door, value):
    retensor(adapter, lambda tensors: next(iter(tensors.values())).view(-1)[3].fill_(value))
    error = refused(door, llama, adapter, "lora_[AB].*not finite")
    assert error.where == str(adapter / "adapter_model.safetensors")


def test_a_pickle_is_called_one_and_the_line_converts_it(llama, adapter, door):
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    torch.save(tensors, adapter / "adapter_model.bin")
    file.unlink()
    error = refused(door, llama, adapter, "is a pickle.*only safetensors are read")
    line = error.hint.partition(": ")[2]
    assert line.startswith('python -c "')
    program = line.removeprefix('python -c "').removesuffix('"')
    here = {"import torch": f"import os; os.chdir({str(adapter)!r}); import torch"}
    exec(program.replace("import torch", here["import torch"], 1))
    assert load_file(file).keys() == tensors.keys()


def test_a_folder_without_tensors_or_settings_says_which(llama, adapter, door):
    (adapter / "adapter_model.safetensors").unlink()
    refused(door, llama, adapter, r"adapter_model\.safetensors is missing")
    (adapter / "adapter_config.json").unlink()
    refused(door, llama, adapter, r"adapter_config\.json is missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a JSON object but a list"),
        ("{", "not valid JSON"),
        ("{}", "of type None"),
        ('{"peft_type": "NEVER"}', "type 'NEVER'; only LoRA"),
        ('{"peft_type": "IA3"}', "type 'IA3'; only LoRA"),
        ('{"peft_type": ["LORA"]}', "only LoRA"),
    ],
)
def test_settings_of_no_lora_adapter_are_refused(llama, adapter, door, content, message):
    (adapter / "adapter_config.json").write_text(content)
    refused(door, llama, adapter, message)


def test_truncated_tensors_are_refused(llama, adapter, door):
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    refused(door, llama, adapter, "not a whole safetensors file")


@pytest.mark.parametrize(
    "settings",
    [{"r": 8}, {"r": "4"}, {"r": 10**9}, {"rank_pattern": {"q_proj": 10**9}}, {"r": None}],
)
def test_ranks_that_are_not_those_of_the_tensors_are_refused_before_anything_is_built(llama, adapter, door, settings):
    change(adapter, **settings)
    refused(door, llama, adapter, "ranks")


def test_missing_and_left_over_tensors_are_told_apart(llama, adapter, door):
    def lose(tensors):
        del tensors["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"]

    retensor(adapter, lose)
    refused(door, llama, adapter, r"1 of its tensors are missing, .*layers\.0\.mlp\.up_proj\.lora_A")

    def add(tensors):
        tensors["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"] = torch.ones(4, 64)
        tensors["base_model.model.model.layers.9.mlp.up_proj.lora_A.weight"] = torch.ones(4, 64)

    retensor(adapter, add)
    refused(door, llama, adapter, r"1 of its tensors are left over, .*layers\.9")


def test_an_adapter_of_another_architecture_or_shape_is_refused(llama, adapter, door, tmp_path):
    wide = tiny.build(tmp_path / "wide", tiny.llama_config(hidden_size=32, intermediate_size=96))
    refused(door, wide, adapter, "does not fit this base model.*")
    change(adapter, target_modules=["c_attn", "c_proj"])
    refused(door, llama, adapter, "does not fit this base model: .*c_")


EVIL = "(.*.*.*)*(([a-z_]+)+)+x"


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules"])
def test_a_catastrophic_pattern_is_matched_in_linear_time(llama, adapter, door, key):
    change(adapter, **{key: EVIL})
    began = time.process_time()
    if key == "target_modules":
        refused(door, llama, adapter, "target_modules .* match no module")
    else:
        door(llama, adapter)
    assert time.process_time() - began < 20


@pytest.mark.parametrize("pattern", ["(a)\\1", "(?!x).*", "(", "a{1000}{1000}{1000}"])
@pytest.mark.parametrize("key", ["target_modules", "exclude_modules"])
def test_a_pattern_that_needs_backtracking_is_refused(llama, adapter, door, pattern, key):
    change(adapter, **{key: pattern})
    refused(door, llama, adapter, f"{key} is a pattern that cannot be matched in linear time")


@pytest.mark.parametrize(
    "settings",
    [
        {"rank_pattern": {EVIL: 4}},
        {"alpha_pattern": {EVIL: 4}},
        {"modules_to_save": [EVIL]},
        {"layers_pattern": EVIL, "layers_to_transform": [0]},
        {"layers_pattern": [EVIL], "layers_to_transform": [0]},
        {"modules_to_save": [3]},
    ],
)
def test_other_patterns_are_names_only(llama, adapter, door, settings):
    change(adapter, **settings)
    refused(door, llama, adapter, "is no name of a module")


@pytest.mark.parametrize(
    "settings",
    [
        {"layer_replication": [[0, 2]] * 9},
        {"megatron_config": {"a": 1}},
        {"alora_invocation_tokens": [1]},
        {"use_qalora": True},
    ],
)
def test_settings_that_rebuild_the_model_are_refused(llama, adapter, door, settings):
    change(adapter, **settings)
    refused(door, llama, adapter, f"it sets {next(iter(settings))}")


@pytest.mark.parametrize(
    "settings",
    [{"lora_alpha": "x"}, {"target_modules": 3}, {"lora_dropout": []}, {"task_type": 5}, {"rank_pattern": []}],
)
def test_settings_of_a_wrong_type_are_an_error_with_the_folder(llama, adapter, settings):
    change(adapter, **settings)
    refused(DOORS["train"], llama, adapter, "adapter")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_alpha": float("nan")}, "the scale of lora_alpha is nan"),
        ({"lora_alpha": float("inf")}, "the scale of lora_alpha is inf"),
        ({"lora_alpha": 10**400}, "the scale of lora_alpha is 1000"),
        ({"lora_alpha": True}, "the scale of lora_alpha is True"),
        ({"alpha_pattern": {"q_proj": float("nan")}}, "the scale of q_proj is nan"),
        ({"alpha_pattern": {"q_proj": "8"}}, "the scale of q_proj is '8'"),
        ({"use_rslora": "false"}, "use_rslora is 'false'"),
        ({"fan_in_fan_out": "false"}, "fan_in_fan_out is 'false'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which may change the base"),
        ({"init_lora_weights": "olora"}, "init_lora_weights is 'olora', which may change the base"),
    ],
)
def test_values_that_would_change_every_answer_are_refused(llama, adapter, settings, message):
    change(adapter, **settings)
    refused(DOORS["serve"], llama, adapter, message)


def test_a_pattern_gives_the_layers_that_peft_would_find(llama, tmp_path):
    targets = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj"]
    policy = tiny.policy_of(llama, lora=LoraConfig(r=4, targets=targets))
    policy.save_adapter(tmp_path / "adapter")
    change(tmp_path / "adapter", target_modules=r"model\.layers\.(0\.self_attn\.q|1\.mlp\.up)_proj")
    again = tiny.policy_of(llama, adapter=tmp_path / "adapter", shaken=False)
    for name, tensor in policy.adapter_state().items():
        assert torch.equal(again.adapter_state()[name], tensor)


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        '{"start": "never"}',
        '{"start": []}',
        '{"base": 3}',
        '{"base": {"sample": [1], "name": 1}}',
        '{"base": {}}',
    ],
)
def test_a_damaged_record_is_named(llama, adapter, record):
    (adapter / "homeground.json").write_text(record)
    error = refused(DOORS["train"], llama, adapter, "the adapter's record")
    assert error.where == str(adapter / "homeground.json")
    assert "delete it" in error.hint


def test_an_adapter_that_became_nan_is_not_saved_and_the_one_before_stays(policy, tmp_path):
    policy.save_adapter(tmp_path / "adapter")
    before = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    next(iter(policy.trainable().values())).data[0, 0] = float("nan")
    with pytest.raises(HomegroundError, match=r"the training has diverged.*not saved.*not finite") as caught:
        policy.save_adapter(tmp_path / "adapter")
    assert "learning rate" in caught.value.hint
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_base_with_a_value_that_is_not_finite_is_refused(llama, tmp_path):
    base = shutil.copytree(llama, tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = float("inf")
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    for load in (lambda: tiny.policy_of(base), lambda: tiny.policy_of(base, quantization="nf4")):
        with pytest.raises(HomegroundError, match=r"layers\.1\.mlp\.up_proj\.weight' has values that are not finite"):
            load()
    weights = MergedWeights(base)
    with pytest.raises(HomegroundError, match="not finite"):
        weights.tensor("model.layers.1.mlp.up_proj.weight")
