"""Folders of models that are broken or hostile: each is refused by file, and nothing in them is run."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from homeground.base.errors import HomegroundError
from homeground.base.model_files import check_model_folder, refuse_not_finite, weight_files
from homeground.base.weights import resolve_model


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    save_file({"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float16)}, tmp_path / "model.safetensors")
    return tmp_path


def raw(header: dict | bytes, data: bytes, length: int | None = None) -> bytes:
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(written) if length is None else length).to_bytes(8, "little") + written + data


def one(begin, end, shape=(2,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01",
        raw(b"{}", b"", length=2**40),
        raw(b"{}", b"", length=2**63),
        raw(b"not json", b""),
        raw(b"[]", b""),
        raw({"a": one(0, 8)}, b"\x00" * 4),
        raw({"a": one(0, 8), "b": one(4, 12)}, b"\x00" * 12),
        raw({"a": one(0, 8), "b": one(0, 8)}, b"\x00" * 8),
        raw({"a": one(8, 0)}, b"\x00" * 8),
        raw({"a": one(0, 8, (2**40, 2**40))}, b"\x00" * 8),
        raw({"a": one(0, 8, (3,))}, b"\x00" * 8),
    ],
)
def test_weights_whose_header_does_not_fit_the_file_are_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(HomegroundError, match="not a whole safetensors file") as caught:
        resolve_model(str(folder))
    assert caught.value.where == str(folder / "model.safetensors")
    assert "fetch it again" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"]
)
@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), ("[1]", "not a JSON object but a list"), ("null", "but null"), ("[" * 99999, "JSON")],
    ids=["cut", "list", "null", "deep"],
)
def test_settings_that_are_no_object_are_refused_by_file(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(HomegroundError, match=message) as caught:
        resolve_model(str(folder))
    assert str(folder / name) in caught.value.where
    assert caught.value.hint


@pytest.mark.parametrize("part", ["../../etc/passwd", "/etc/passwd", "..", "", "sub/model.safetensors", 3, None])
def test_an_index_names_files_of_its_own_folder_only(folder, part):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": part}}))
    with pytest.raises(HomegroundError, match="no file of this folder") as caught:
        resolve_model(str(folder))
    assert caught.value.where == str(folder / "model.safetensors.index.json")


def test_a_missing_shard_is_named(folder):
    index = {"weight_map": {"a": "model.safetensors", "c": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(HomegroundError, match="part of this model is missing: model-00002-of-00002"):
        resolve_model(str(folder))


@pytest.mark.parametrize("content", ["[]", '{"weight_map": []}', "{}"])
def test_an_index_without_a_map_is_refused(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(HomegroundError) as caught:
        resolve_model(str(folder))
    assert caught.value.where == str(folder / "model.safetensors.index.json")


@pytest.mark.parametrize("kind", ["os.system", "marker.Module", "sentence_transformers_evil.Module", 3, None])
def test_a_module_that_is_not_of_sentence_transformers_is_refused(folder, kind):
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
    with pytest.raises(HomegroundError, match="its code would be run") as caught:
        resolve_model(str(folder))
    assert caught.value.where == str(folder / "modules.json")


@pytest.mark.parametrize("path", ["../other", "/etc", 3])
def test_a_module_lies_inside_the_folder(folder, path):
    kind = "sentence_transformers.models.Pooling"
    (folder / "modules.json").write_text(json.dumps([{"path": path, "type": kind}]))
    with pytest.raises(HomegroundError, match="outside this folder"):
        resolve_model(str(folder))


@pytest.mark.parametrize("content", ["{}", '["x"]', "{"])
def test_modules_that_are_no_list_are_refused(folder, content):
    (folder / "modules.json").write_text(content)
    with pytest.raises(HomegroundError) as caught:
        resolve_model(str(folder))
    assert str(folder / "modules.json") in caught.value.where


@pytest.mark.parametrize("key", ["activation_fn", "sbert_ce_default_activation_function"])
@pytest.mark.parametrize("inner", [True, False])
def test_an_activation_is_one_of_torch(folder, key, inner):
    def write(name):
        config = {key: name}
        (folder / "config.json").write_text(json.dumps({"sentence_transformers": config} if inner else config))

    write("torch.nn.modules.linear.Identity")
    check_model_folder(folder)
    write("torch.distributed.run.main")
    with pytest.raises(HomegroundError, match="none of torch"):
        resolve_model(str(folder))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_a_value_that_is_not_finite_is_found_with_its_tensor(tmp_path, value, kind):
    values = np.ones((65, 33), kind)
    good = {"whole": np.arange(3), "none": np.zeros((0, 2), np.float32), "scalar": np.array(1, np.float32)}
    save_file({**good, "values": values}, tmp_path / "a.safetensors")
    refuse_not_finite(weight_files(tmp_path))
    values[64, 7] = value
    save_file({**good, "values": values}, tmp_path / "a.safetensors")
    with pytest.raises(HomegroundError, match="'values' has values that are not finite") as caught:
        refuse_not_finite(weight_files(tmp_path))
    assert caught.value.where == str(tmp_path / "a.safetensors")
