import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError
from homeground.base.gguf_model import bf16_bits, convert_gguf

HIDDEN, HEADS, KV_HEADS, VOCAB = 32, 4, 2, 300


@pytest.fixture
def write(tmp_path):
    """Write a small Llama as GGUF; `change` may alter the writer before the tensors are added."""

    def write_file(architecture="llama", pre="smollm", change=None, extra=None, tied=True, merges=("a b",)):
        path = tmp_path / "tiny.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(1)
        writer.add_context_length(64)
        writer.add_embedding_length(HIDDEN)
        writer.add_feed_forward_length(64)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(10000.0)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        characters = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
        tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *characters, "ab", "<tool>"]
        tokens += [f"unused{i}" for i in range(VOCAB - len(tokens))]
        writer.add_token_list(tokens)
        writer.add_token_types([3, 3, 3, *[4 if token == "<tool>" else 1 for token in tokens[3:]]])
        writer.add_token_merges(merges)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_pad_token_id(2)
        if change:
            change(writer)
        rng = np.random.default_rng(0)
        shapes = {
            "token_embd": (VOCAB, HIDDEN),
            "output_norm": (HIDDEN,),
            "blk.0.attn_norm": (HIDDEN,),
            "blk.0.attn_q": (HIDDEN, HIDDEN),
            "blk.0.attn_k": (HIDDEN // 2, HIDDEN),
            "blk.0.attn_v": (HIDDEN // 2, HIDDEN),
            "blk.0.attn_output": (HIDDEN, HIDDEN),
            "blk.0.ffn_norm": (HIDDEN,),
            "blk.0.ffn_gate": (64, HIDDEN),
            "blk.0.ffn_up": (64, HIDDEN),
            "blk.0.ffn_down": (HIDDEN, 64),
            **({} if tied else {"output": (VOCAB, HIDDEN)}),
            **(extra or {}),
        }
        for name, shape in shapes.items():
            values = rng.normal(size=shape).astype(np.float32)
            if len(shape) == 2:
                kind = gguf.GGMLQuantizationType.Q8_0
                writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(f"{name}.weight", values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write_file


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    return path


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False, max_value=2.0**126, min_value=-(2.0**126)))
def test_bf16_rounds_as_torch_does(value):
    import torch

    ours = bf16_bits(np.array([value], dtype=np.float32))
    theirs = torch.tensor([value], dtype=torch.float32).to(torch.bfloat16).view(torch.uint16).numpy()
    assert ours[0] == theirs[0]


def test_ties_go_to_the_even_neighbour():
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8], dtype=np.float32)
    assert bf16_bits(values).tolist() == [0x3F80, 0x3F82]


@pytest.mark.parametrize("tied", [True, False])
def test_weights_equal_those_transformers_dequantises_to_the_bit(write, folder, tied):
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.quantization_config import GgufConfig

    file = write(tied=tied)
    convert_gguf(file, folder)
    ours, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, output_loading_info=True)
    theirs = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert ours.config.tie_word_embeddings is tied
    for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "rope_parameters"):
        assert getattr(ours.config, key) == getattr(theirs.config, key), key


def test_padding_is_not_the_end_token(write, folder):
    from transformers import AutoTokenizer, GenerationConfig

    convert_gguf(write(), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
    assert GenerationConfig.from_pretrained(folder).pad_token_id == 0


def test_digits_are_split_one_by_one_where_the_model_learned_it_so(write, folder):
    from transformers import AutoTokenizer

    convert_gguf(write(), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("x1234 56")
    assert [piece for piece, _ in pieces] == ["x", "1", "2", "3", "4", "Ġ", "5", "6"]


def test_special_and_added_tokens_stay_whole_and_text_survives_a_round_trip(write, folder):
    from transformers import AutoTokenizer

    convert_gguf(write(), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "<|im_start|>naïve ab\t12<tool>\n<|im_end|>"
    ids = tokenizer(text).input_ids
    assert ids[0] == 1
    assert ids[-1] == 2
    assert "<tool>" in tokenizer.convert_ids_to_tokens(ids)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == "naïve ab\t12<tool>\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"architecture": "qwen2"}, "the architecture 'qwen2'"),
        ({"pre": "llama-bpe"}, "the pre-tokenizer 'llama-bpe'"),
        ({"change": lambda writer: writer.add_rope_scaling_factor(2.0)}, "scaled RoPE"),
        ({"extra": {"rope_freqs": (8,)}}, "scaled RoPE"),
        ({"extra": {"blk.0.attn_q_norm": (8,)}}, "the tensor 'blk.0.attn_q_norm.weight'"),
    ],
)
def test_what_cannot_be_converted_exactly_is_refused(write, folder, arguments, what):
    file = write(**arguments)
    with pytest.raises(HomegroundError, match="cannot convert this GGUF exactly") as caught:
        convert_gguf(file, folder)
    assert what in caught.value.message
    assert caught.value.where == str(file)
    assert "safetensors" in (caught.value.hint or "")


def test_a_vocabulary_that_contradicts_itself_is_refused(write, folder):
    with pytest.raises(HomegroundError, match="the tokenizer in this GGUF is broken") as caught:
        convert_gguf(write(merges=["a not-there"]), folder)
    assert "out of vocabulary" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model" * 100])
def test_what_is_no_gguf_is_refused(tmp_path, folder, content):
    file = tmp_path / "broken.gguf"
    file.write_bytes(content)
    with pytest.raises(HomegroundError, match="not a readable GGUF file"):
        convert_gguf(file, folder)


def test_a_truncated_file_is_refused(write, folder):
    file = write()
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(HomegroundError, match="not a readable GGUF file"):
        convert_gguf(file, folder)


def test_values_that_are_not_finite_are_refused(write, folder):
    file = write()
    reader = gguf.GGUFReader(file, "r+")
    norm = next(tensor for tensor in reader.tensors if tensor.name == "output_norm.weight")
    norm.data[3] = np.nan
    reader.data.flush()
    with pytest.raises(HomegroundError, match=r"'output_norm\.weight' has values that are not finite"):
        convert_gguf(file, folder)
