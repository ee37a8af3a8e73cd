"""Both sides of every comparison: a policy's forest, and the model's own forward on plain rows."""

import torch
from hypothesis import strategies as st

from homeground.policy import TokenForest, TokenPath, row_logprobs

from ..policy import tiny


@st.composite
def trees(draw, most=6, longest=7, vocabulary=256):
    """Paths that fork from one another anywhere: nested, equal, ragged, of one token, or unrelated."""
    rows = [draw(st.lists(st.integers(0, vocabulary - 1), min_size=2, max_size=longest))]
    for _ in range(draw(st.integers(0, most - 1))):
        origin = draw(st.sampled_from(rows))
        shared = draw(st.integers(0, len(origin)))
        tail = draw(st.lists(st.integers(0, vocabulary - 1), min_size=0 if shared else 1, max_size=longest))
        rows.append(origin[:shared] + tail)
    starts = [draw(st.integers(1, max(1, len(row) - 1))) for row in rows]
    return [TokenPath(row, range(start, len(row))) for row, start in zip(rows, starts, strict=True)]


def relative(mine, theirs):
    return float((mine - theirs).norm() / theirs.norm())


def weighted(values, seed=0):
    """A scalar in which every term counts differently."""
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
    return (values * weights.to(values.dtype)).sum()


def gradient(policy):
    """The gradient of a policy's adapter, taken away from it."""
    parameters = list(policy.trainable().values())
    flat = tiny.gradient_of(parameters)
    for parameter in parameters:
        parameter.grad = None
    return flat


def forest_and_rows(policy, paths, temperature=1.0, attention="eager"):
    """Log-probabilities and gradients, by the forest and by plain rows."""
    forest = TokenForest.build(paths)
    mine = policy.logprobs(forest, temperature)
    weighted(mine).backward()
    my_gradient = gradient(policy)
    twin, lora = tiny.trainable_plain(policy, attention)
    theirs = row_logprobs(twin, paths, temperature)
    weighted(theirs).backward()
    return (mine.detach(), my_gradient), (theirs.detach(), tiny.gradient_of(lora))


def one_rounding(policy, paths, temperature=1.0, tries=4):
    """How far the plain rows' own gradient moves when every weight is off by at most its last bit."""

    def rows():
        twin, lora = tiny.trainable_plain(policy, "eager")
        weighted(row_logprobs(twin, paths, temperature)).backward()
        return tiny.gradient_of(lora)

    def moved(seed):
        generator = torch.Generator().manual_seed(seed)
        for weight, exact in zip(weights, kept, strict=True):
            noise = torch.rand(weight.shape, generator=generator) * 2 - 1
            weight.copy_(exact * (1 + noise * torch.finfo(weight.dtype).eps))
        return relative(rows(), expected)

    expected = rows()
    # The twin shares the policy's weights: they are put back.
    weights = [weight.data for weight in tiny.plain(policy).parameters() if weight.is_floating_point()]
    kept = [weight.clone() for weight in weights]
    worst = max(moved(seed) for seed in range(tries))
    for weight, exact in zip(weights, kept, strict=True):
        weight.copy_(exact)
    return worst


def assert_equal_rows(policy, paths, temperature=1.0):
    """The contract: float32 log-probabilities to 2e-5, gradients to a relative 1e-5.

    Some random trees are so badly conditioned that the rows themselves are not determined to 1e-5; there the
    forest must be within five times what one rounding of every weight does to the rows: a forward rounds many times.
    """
    (mine, my_gradient), (theirs, their_gradient) = forest_and_rows(policy, paths, temperature)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)
    off = relative(my_gradient, their_gradient)
    assert off < 1e-5 or off < 5 * one_rounding(policy, paths, temperature)
