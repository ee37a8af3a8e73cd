import pytest
import torch
from torch import nn
from torch.nn.functional import linear, log_softmax

from homeground.policy.head import HeadLogprobs, Scratch, plain_head, sharp_logits

from . import tiny


def rows_and_head(dtype, rows=7, size=64, vocabulary=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, size, generator=generator) * 3
    weight = torch.randn(vocabulary, size, generator=generator)
    return hidden.to(dtype), weight.to(dtype)


def test_large_logits_keep_their_digits_in_half_precision():
    hidden, weight = rows_and_head(torch.bfloat16)
    exact = hidden.double() @ weight.double().T
    sharp, plain = (log_softmax(x.double(), -1) for x in (sharp_logits(hidden, weight), linear(hidden, weight)))
    likely = log_softmax(exact, -1)
    matter = likely > -3
    assert float((sharp - likely)[matter].abs().max()) < 0.02
    assert float((plain - likely)[matter].abs().max()) > 0.05, "nothing was gained"


def test_float32_logits_are_the_product_itself():
    hidden, weight = rows_and_head(torch.float32)
    assert torch.equal(sharp_logits(hidden, weight), linear(hidden, weight))


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_value_and_gradient_equal_the_plain_expression(temperature):
    hidden, weight = (t.double().requires_grad_(n == 0) for n, t in enumerate(rows_and_head(torch.float32)))
    rows = torch.tensor([0, 0, 2, 2, 2, 5, 6])
    targets = torch.tensor([3, 9, 3, 3, 299, 0, 17])
    scale = torch.linspace(-1, 2, 7, dtype=torch.float64)

    def plain(hidden):
        return log_softmax(linear(hidden, weight) / temperature, -1)[rows, targets]

    twin = hidden.detach().clone().requires_grad_(True)
    single = hidden.detach().float().requires_grad_(True)
    head = weight.detach().float()
    found = HeadLogprobs.apply(single, head, rows, targets, temperature, Scratch(len(single) + 3, head))
    torch.testing.assert_close(found.double(), plain(twin), rtol=1e-5, atol=1e-5)
    (found * scale.float()).sum().backward()
    (plain(twin) * scale).sum().backward()
    torch.testing.assert_close(single.grad.double(), twin.grad, rtol=1e-4, atol=1e-4)


def test_only_a_frozen_product_and_nothing_else_is_a_plain_head(llama):
    model = tiny.policy_of(llama).model
    head = model.get_output_embeddings()
    assert plain_head(model) is head.weight
    model.config.final_logit_softcapping = 30.0
    assert plain_head(model) is None
    model.config.final_logit_softcapping = None
    head.weight.requires_grad_(True)
    assert plain_head(model) is None
    head.weight.requires_grad_(False)
    head.bias = nn.Parameter(torch.zeros(head.weight.shape[0]), requires_grad=False)
    assert plain_head(model) is None
