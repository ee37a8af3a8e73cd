"""What the report says is what is there, and what is there is what the papers say."""

import json

import jsonschema
import pytest
import torch
from bitsandbytes.functional import quantize_4bit
from scipy.stats import norm

from homeground.cli import main
from homeground.policy.base_model import load_base
from homeground.policy.originals import WeightFiles
from homeground.policy.quantize import dequantized, quantized_layers
from homeground.policy.quantize_report import quantization_report

from ..pipeline.test_documents import SCHEMAS
from . import tiny

BLOCK, BLOCKS = 64, 256


def nf4_levels():
    """Dettmers et al. 2023, section 3: quantiles of N(0, 1) at even steps, eight above zero, seven below, and zero.

    The outermost quantile lies half a step of both halves' means inside: 1 - (1/32 + 1/30) / 2.
    """
    outermost = 1 - (1 / 32 + 1 / 30) / 2
    above = norm.ppf(torch.linspace(outermost, 0.5, 9)[:-1])
    below = -norm.ppf(torch.linspace(outermost, 0.5, 8)[:-1])
    levels = torch.tensor([*below, 0.0, *above]).sort().values
    return (levels / levels.max()).float()


def eight_bit_levels():
    """Dynamic 8-bit numbers (Dettmers et al. 2021, arXiv 2110.02861): a decimal exponent, then linear steps."""
    levels = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        means = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (exponent - 6)
        levels += [*means.tolist(), *(-means).tolist()]
    return torch.tensor(levels).sort().values


def nearest(values, levels):
    return levels[(values[..., None] - levels).abs().argmin(-1)]


def qlora_by_definition(weight):
    """NF4 in blocks of 64; their largest magnitudes, less the mean of all, in 8 bits in blocks of 256."""
    blocks = weight.flatten().view(-1, BLOCK)
    largest = blocks.abs().amax(1)
    codes = nearest(blocks / largest[:, None], nf4_levels())
    mean = largest.mean()
    constants = torch.cat(
        [
            nearest(part / part.abs().max(), eight_bit_levels()) * part.abs().max()
            for part in (largest - mean).split(BLOCKS)
        ]
    )
    return (codes * (constants + mean)[:, None]).view(weight.shape)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Wide enough that blocks of blocks are full: 256 of 64."""
    folder = tmp_path_factory.mktemp("wide")
    return tiny.build(folder, tiny.llama_config(hidden_size=256, intermediate_size=512, num_hidden_layers=1))


def report(folder, kind, **more):
    base = load_base(tiny.settings_of(folder, quantization=kind, **more))
    return base.model, quantization_report(base)


def test_the_codebook_is_that_of_quantiles():
    code = quantize_4bit(torch.ones(BLOCK), quant_type="nf4")[1].code
    torch.testing.assert_close(code, nf4_levels(), rtol=1e-4, atol=1e-4)


def test_nf4_with_double_quantization_is_the_paper_s(wide):
    base, _ = report(wide, "nf4")
    originals = WeightFiles(wide)
    for name, layer in quantized_layers(base).items():
        expected = qlora_by_definition(originals.weight(name))
        found = dequantized(layer)
        assert float((found - expected).norm() / expected.norm()) < 2e-3, name


@pytest.mark.parametrize(
    ("kind", "more", "bits"),
    [
        ("nf4", {}, 4 + 8 / 64 + 32 / (64 * 256)),
        ("nf4", {"double_quant": False}, 4 + 32 / 64),
        ("nf4", {"double_quant": False, "blocksize": 256}, 4 + 32 / 256),
        ("fp4", {}, 4 + 8 / 64 + 32 / (64 * 256)),
        ("int8", {}, 8 + 32 / 256),
    ],
)
def test_bits_are_counted(wide, kind, more, bits):
    found = report(wide, kind, **more)[1]
    by_kind = found.kinds()
    # One number more a layer: the mean of its constants.
    assert by_kind["up_proj"]["bits"] == pytest.approx(bits, abs=1e-3)
    assert by_kind["up_proj"]["storage"] == kind
    assert by_kind["up_proj"]["parameters"] == 256 * 512
    if not more and kind == "nf4":
        assert found.bits == pytest.approx(4.127, abs=2e-3)


def test_errors_are_against_the_file_and_ordered_as_the_papers_say(wide):
    errors = {kind: report(wide, kind)[1] for kind in ("nf4", "fp4", "int8")}
    means = {k: sum(layer.error for layer in r.packed) / len(r.packed) for k, r in errors.items()}
    assert means["int8"] < 0.02 < means["nf4"] < means["fp4"]
    assert means["fp4"] > 1.2 * means["nf4"]
    worst = errors["nf4"].worst()
    assert worst[0].error == max(layer.error for layer in errors["nf4"].packed)
    assert [layer.error for layer in worst] == sorted((layer.error for layer in worst), reverse=True)


def test_every_parameter_is_accounted_for(wide):
    base, found = report(wide, "nf4")
    counted = sum(layer.parameters for layer in found.packed) + sum(part.parameters for part in found.plain)
    assert counted == sum(p.numel() for p in report(wide, "none")[0].parameters())
    why = {part.kind: part.why for part in found.plain}
    assert "output head is the same matrix" in why["embed_tokens"]
    assert why["norm"] == "one number a channel"
    assert base.get_output_embeddings().weight.dtype is torch.float32
    assert report(wide, "none")[1].bits == 0


def test_the_verb_shows_it(wide, capsys):
    command = ["weights", str(wide), "--report", "--quantization", "fp4"]
    assert main([*command, "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads((SCHEMAS / "quantization.json").read_text()))
    assert document["quantization"] == "fp4"
    assert document["kinds"]["down_proj"]["layers"] == 1
    assert main([*command, "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "not quantized" in shown
    assert "worst: model.layers.0" in shown


def test_a_quantization_that_there_is_not_is_refused(wide, capsys):
    assert main(["weights", str(wide), "--report", "--quantization", "int3"]) == 2
    assert "'model.quantization' must be 'nf4', 'fp4', 'int8' or 'none', not 'int3'" in capsys.readouterr().err
