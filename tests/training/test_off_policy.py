import json
import math

import pytest
import torch

from homeground.base.errors import UsageError
from homeground.policy import TokenPath, row_logprobs
from homeground.policy.chat import render
from homeground.rollouts import DirectSource, Sampler, sampled_paths
from homeground.training import (
    ExgrpoConfig,
    ExpertTrace,
    GrpoConfig,
    Kl,
    LossTerms,
    LuffyConfig,
    Scale,
    load_traces,
    policy_loss,
)
from homeground.training.off_policy import Guide, Origin, expert_guide, shaped_ratio

from ..policy import tiny
from .test_grpo import Replay, gradient_of, recorded, step_of, train

pytestmark = pytest.mark.filterwarnings("ignore:the sampler's log-probabilities")

ADD = [
    {"role": "user", "content": "one and one?"},
    {"role": "assistant", "content": "search: sums"},
    {"role": "user", "content": "hits"},
    {"role": "assistant", "content": "two"},
]


@pytest.mark.parametrize("gamma", [0.1, 0.3])
@pytest.mark.parametrize("behaviour", [0.0, -2.0])
def test_policy_shaping_is_the_papers_function_and_weighs_tokens_as_it_says(gamma, behaviour):
    logprobs = torch.tensor([-9.0, -2.3, -0.7, -0.01], dtype=torch.float64, requires_grad=True)
    shaped = shaped_ratio(
        logprobs, torch.full((4,), behaviour, dtype=torch.float64), torch.full((4,), gamma, dtype=torch.float64)
    )
    shaped.sum().backward()
    for i, value in enumerate(logprobs.tolist()):
        r = math.exp(value - behaviour)
        assert shaped[i].item() == pytest.approx(r / (r + gamma), rel=1e-12)
        assert float(logprobs.grad[i]) == pytest.approx(gamma * r / (r + gamma) ** 2, rel=1e-12)


def test_a_ratio_that_would_overflow_stays_finite():
    far = torch.tensor([0.0, -2000.0], requires_grad=True)
    shaped = shaped_ratio(far, torch.tensor([-2000.0, 0.0]), torch.tensor([0.1, 0.1]))
    shaped.sum().backward()
    assert shaped.tolist() == [1.0, 0.0]
    assert torch.isfinite(far.grad).all()


@pytest.mark.parametrize("kl", Kl)
def test_the_loss_is_the_mixed_sum_term_by_term(kl):
    """Terms 0 to 2 are the policy's, 3 and 4 an expert's: clip and KL there, shaping here."""
    objective = GrpoConfig(kl=kl, kl_coef=0.3, importance_cap=1.5)
    old = torch.tensor([-1.0, -2.0, -0.5, -1.5, -3.0], dtype=torch.float64)
    logprobs = (old + torch.tensor([0.5, -0.4, 0.1, 0.2, -0.2])).requires_grad_(True)
    sampled = torch.tensor([-1.2, -1.9, -0.6, 0.0, -1.0], dtype=torch.float64)
    reference = old - 0.3
    advantage = torch.tensor([1.0, 1.0, -1.0, 0.8, 0.8], dtype=torch.float64)
    weight = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    gamma = torch.tensor([0, 0, 0, 0.1, 0.2], dtype=torch.float64)
    terms = LossTerms(old, sampled, reference, advantage, weight, torch.tensor([0, 0, 1, 2, 2]), gamma)
    value = policy_loss(logprobs, terms, objective)
    expected = clipped = divergence = 0.0
    for i in range(5):
        lp, a, w = float(logprobs[i].detach()), float(advantage[i]), float(weight[i])
        if i >= 3:
            r = math.exp(lp - float(sampled[i]))
            expected -= w * r / (r + float(gamma[i])) * a
            continue
        r = math.exp(lp - float(old[i]))
        bounded = min(max(r, 0.8), 1.2)
        trust = min(math.exp(float(old[i] - sampled[i])), 1.5)
        d = float(reference[i]) - lp
        k3 = math.exp(d) - d - 1
        term = {Kl.K1: 0.0, Kl.K2: d * d / 2}.get(kl, k3)
        expected += w * (0.3 * term - trust * min(r * a, bounded * a))
        clipped += bounded * a < r * a
        divergence += k3
    assert float(value.loss.detach()) == pytest.approx(expected, rel=1e-9)
    assert (float(value.clipped), float(value.kl)) == (clipped, pytest.approx(divergence, rel=1e-9))


def by_the_book(policy, reference, trajectories, guides, *, beta):
    """The papers' sums with plain rows, one rollout after the other, and grpo's normaliser."""
    twin, lora = tiny.trainable_plain(policy)
    everyone = [(t, 0.0) for t in trajectories] + [(g.trajectory, g.gamma) for g in guides]
    total = 0.0
    for t, gamma in everyone:
        rewards = torch.tensor([o.reward for o, _ in everyone if o.task == t.task], dtype=torch.float64)
        advantage = (t.reward - rewards.mean()) / rewards.std(correction=0)
        losses = []
        for turn in t.turns:
            ids = [*turn.prompt_ids, *turn.ids]
            path = [TokenPath(ids, list(range(len(turn.prompt_ids), len(ids))))]
            mine = row_logprobs(twin, path, 1.0)
            with torch.no_grad():
                theirs = row_logprobs(reference, path, 1.0)
            if gamma:
                r = torch.exp(mine - torch.tensor(turn.logprobs))
                losses.append(-advantage * r / (r + gamma))
            else:
                kl = torch.exp(theirs - mine) - (theirs - mine) - 1
                losses.append(beta * kl - torch.exp(mine - mine.detach()) * advantage)
        total = total + torch.cat(losses).mean() / len(everyone)
    total.backward()
    return tiny.gradient_of(lora)


@pytest.mark.parametrize("forest_tokens", [1, 10_000])
def test_the_gradient_of_a_guided_step_is_the_papers(policy, sampler, forest_tokens):
    """A trace and a replayed success in one step, told apart from the six rollouts beside them."""
    trajectories = step_of()
    trace = expert_guide(policy.tokenizer, ExpertTrace(ADD, 1.5), 0, "expert", 0.1)
    past = recorded("b", 1, 0, 7, reward=1.2)
    guides = [trace, Guide(past, Origin.REPLAYED, 0.2)]
    reference = tiny.plain(policy)

    def train_guided(module):
        return module.train_on(trajectories, guides)

    module = gradient_of(policy, sampler, trajectories, kl_coef=0.3, forest_tokens=forest_tokens, run=train_guided)
    expected = by_the_book(policy, reference, trajectories, guides, beta=0.3)
    assert (module.gradient - expected).norm() / expected.norm() < 1e-4
    assert (module._metrics["rollouts_expert"], module._metrics["rollouts_replayed"]) == (1, 1)
    alone = gradient_of(tiny.policy_of(policy.folder), sampler, trajectories, kl_coef=0.3)
    assert (module.gradient - alone.gradient).norm() / alone.gradient.norm() > 0.05
    # What is logged is of the policy's own tokens.
    for name in ("entropy", "logprob_gap", "kl"):
        assert module._metrics[name] == pytest.approx(alone._metrics[name], rel=1e-4)


def test_a_group_that_never_succeeds_learns_from_its_expert(policy, sampler):
    dull = [recorded("a", 0, 0, s, reward=0.0) for s in range(3)]
    guides = [expert_guide(policy.tokenizer, ExpertTrace(ADD, 1.0), 0, "expert", 0.1)]
    alone = gradient_of(policy, sampler, dull, kl_coef=0.0)
    assert alone.gradient.norm() == 0
    other = tiny.policy_of(policy.folder)
    module = gradient_of(other, sampler, dull, kl_coef=0.0, run=lambda m: m.train_on(dull, guides))
    assert module.gradient.norm() > 0


def test_a_trace_is_trained_as_the_turns_that_would_have_been_sampled(policy):
    guide = expert_guide(policy.tokenizer, ExpertTrace(ADD, 0.7), 2, "expert-2-0", 0.1)
    rendered = render(policy.tokenizer, ADD)
    (path,) = sampled_paths(guide.trajectory.turns)
    assert (list(path.tokens.ids), list(path.tokens.trained)) == (rendered.ids, rendered.trained)
    assert set(path.logprobs) == {0.0}
    assert len(guide.trajectory.turns) == 2
    assert (guide.trajectory.task, guide.trajectory.reward) == (2, 0.7)


def test_experts_join_the_groups_of_their_tasks_and_are_logged(policy, sampler, tmp_path):
    def experts(task):
        return [ExpertTrace(ADD), ExpertTrace(ADD[:2])] if task == "a" else []

    kept = {}
    steps = train(
        policy, sampler, Replay(), tmp_path, steps=5, experts=experts, luffy=LuffyConfig(per_group=1),
        log_rollouts=lambda step, groups: kept.update({step: groups}),
    )  # fmt: skip
    joined = [s.get("rollouts_expert", 0) for s in steps]
    assert sum(joined) == 2, "task a comes twice in ten draws of five"
    for step, groups in kept.items():
        for group in groups:
            origins = [r["origin"] for r in group["rollouts"]]
            assert origins == ["sampled"] * 3 + ["expert"] * (group["task"] == "a")
            assert all(r["advantage"] is not None for r in group["rollouts"])
        assert sum(g["task"] == "a" for g in groups) == joined[step - 1]


def write(folder, *rows):
    file = folder / "traces.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def test_traces_of_a_file_are_found_by_the_task_s_id(tmp_path):
    file = write(tmp_path, {"task": "t1", "messages": ADD, "reward": 0.5}, {"task": "t1", "messages": ADD[:2]})
    tasks = [{"id": "t1", "prompt": "?"}, {"id": "t2", "prompt": "!"}]
    experts = load_traces(file, tasks)
    assert [(len(t.messages), t.reward) for t in experts(tasks[0])] == [(4, 0.5), (2, 1.0)]
    assert experts(tasks[1]) == []


def test_a_file_of_traces_may_begin_with_a_byte_order_mark(tmp_path):
    file = write(tmp_path, {"task": "t1", "messages": ADD})
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_traces(file, [{"id": "t1"}])({"id": "t1"})


@pytest.mark.parametrize(
    "task", ["a text", "two\u2028lines", {"letter": "b", "n": 2}, [{"role": "user", "content": "hi"}], {"id": 3}]
)
def test_a_task_without_an_id_is_named_by_what_it_says(tmp_path, task):
    file = write(tmp_path, {"task": task, "messages": ADD, "tools": [{"type": "function"}]})
    # An editor may leave the end of the last line out.
    file.write_text(file.read_text().rstrip("\n").replace("\\u2028", "\u2028"))
    experts = load_traces(file, [task, "another"])
    asked = dict(reversed(task.items())) if isinstance(task, dict) else task
    assert [len(t.tools) for t in experts(asked)] == [1]
    assert experts("another") == []


@pytest.mark.parametrize(
    "row",
    [
        {"messages": ADD},
        {"task": "t1"},
        {"task": "t1", "messages": ADD[:1]},
        {"task": "t1", "messages": []},
        {"task": "t1", "messages": ADD, "reward": "high"},
        {"task": "t1", "messages": ADD, "reward": float("nan")},
        {"task": "t1", "messages": ADD, "tools": "none"},
        {"task": "t1", "messages": ["hi"]},
        ["t1", ADD],
    ],
)
def test_a_line_that_is_no_trace_is_named(tmp_path, row):
    file = write(tmp_path, {"task": "t1", "messages": ADD}, row)
    with pytest.raises(UsageError, match="no expert's trace") as caught:
        load_traces(file, ["t1"])
    assert caught.value.where == f"{file}:2"
    assert '"task": ID' in caught.value.hint


def test_traces_that_help_no_task_are_refused(tmp_path):
    with pytest.raises(UsageError, match="none of these traces is of a task") as caught:
        load_traces(write(tmp_path, {"task": "t9", "messages": ADD}), ["t1"])
    assert "'t9'" in caught.value.hint
    with pytest.raises(UsageError, match="there are no traces"):
        load_traces(write(tmp_path), ["t1"])
    with pytest.raises(UsageError, match="the traces cannot be read"):
        load_traces(tmp_path / "gone.jsonl", ["t1"])


def test_what_is_off_changes_no_bit(llama, tmp_path):
    """A trace for no task, replay that never begins, other gammas: as if they were not there."""

    def run(name, **changes):
        policy = tiny.policy_of(llama)
        with Sampler(policy, rows=2, cache_mb=1) as fresh:
            source = DirectSource(policy, fresh, lambda prompt, text: float(len(set(text)) % 5), max_tokens=6)
            steps = train(policy, fresh, source, tmp_path / name, steps=3, **changes)
        return policy.adapter_state(), [
            {key: value for key, value in step.items() if not key.startswith(("seconds", "tokens_per_s", "memory"))}
            for step in steps
        ]

    plain, steps = run("plain")
    idle, same = run(
        "idle",
        experts=lambda task: [],
        luffy=LuffyConfig(per_group=3, gamma=0.5),
        exgrpo=ExgrpoConfig(share=0.5, success=1e9, gamma=0.5),
    )
    assert steps == [{key: value for key, value in step.items() if key != "tasks_replayable"} for step in same]
    assert all(torch.equal(plain[n], idle[n]) for n in plain)


def test_k1_is_taken_from_the_reward_of_sampled_rollouts_alone(policy, sampler):
    trajectories = [t for t in step_of() if t.task == 0]
    guides = [expert_guide(policy.tokenizer, ExpertTrace(ADD, 0.9), 0, "expert", 0.1)]
    reference = tiny.plain(policy)
    rewards = []
    for t in trajectories:
        paths = sampled_paths(t.turns)
        with torch.no_grad():
            theirs = row_logprobs(reference, [p.tokens for p in paths])
        rewards.append(t.reward - 0.05 * float((torch.tensor([lp for p in paths for lp in p.logprobs]) - theirs).sum()))
    module = gradient_of(
        policy, sampler, trajectories, kl=Kl.K1, kl_coef=0.05, advantage=Scale.NONE,
        run=lambda m: m.train_on(trajectories, guides),
    )  # fmt: skip
    mean = (sum(rewards) + 0.9) / 4
    assert module.advantages["expert"] == pytest.approx(0.9 - mean, rel=1e-4)
    for t, reward in zip(trajectories, rewards, strict=True):
        assert module.advantages[t.rollout_id] == pytest.approx(reward - mean, rel=1e-3, abs=1e-4)
