import concurrent.futures
import random
import threading
import time

import pytest
import torch

from homeground.policy import TokenForest
from homeground.rollouts import FinishReason, Sampler, SamplingParams, Turn, sampled_paths
from homeground.rollouts.tails import Tails

from ..policy import tiny

PROMPT = [5, 6, 7, 8, 9, 10, 11]


def wait(*futures):
    return [future.result(timeout=60) for future in futures]


def sample(sampler, prompt, n=12, **params):
    stop_ids = params.pop("stop_ids", ())
    return wait(sampler.submit(prompt, n, SamplingParams(**params), stop_ids))[0]


def gaps(policy, generations, temperature=1.0):
    """Absolute differences between the sampler's and the trainer's log-probabilities, token by token."""
    paths = [
        path
        for g in generations
        for path in sampled_paths([Turn(g.prompt_ids, g.ids, g.logprobs, "stop", g.weights_version)])
    ]
    with torch.no_grad():
        trainer = policy.logprobs(TokenForest.build([p.tokens for p in paths]), temperature)
    return (trainer - torch.tensor([lp for p in paths for lp in p.logprobs])).abs()


def step(policy):
    optimizer = torch.optim.SGD(policy.trainable().values(), lr=0.05)
    policy.logprobs(TokenForest.build(tiny.random_paths(0))).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampled_logprobs_are_those_that_the_trainer_computes(llama, quantization, temperature):
    policy = tiny.policy_of(llama, quantization=quantization)
    with Sampler(policy, rows=8, cache_mb=4) as sampler:
        prompts = [PROMPT, [*PROMPT, 1, 2], PROMPT[:3], [40], [41, 42]]
        generations = wait(*[
            sampler.submit(prompt, 12, SamplingParams(temperature, seed=10 * i + sibling))
            for i, prompt in enumerate(prompts)
            for sibling in range(3)
        ])  # fmt: skip
    found = gaps(policy, generations, temperature)
    assert len(found) == 15 * 12
    assert found.mean() < 1e-4
    assert found.max() < 1e-3


def test_bf16_logprobs_stay_near_the_trainers(llama):
    policy = tiny.policy_of(llama, dtype=torch.bfloat16)
    with Sampler(policy, rows=8, cache_mb=4) as sampler:
        generations = wait(*[sampler.submit(PROMPT, 12, SamplingParams(seed=i)) for i in range(8)])
    assert gaps(policy, generations).mean() < 0.05


def test_greedy_decoding_equals_transformers_generate(policy, sampler):
    twin = tiny.plain(policy)
    for prompt in (PROMPT, [3], list(range(30, 70))):
        ids = torch.tensor([prompt])
        expected = twin.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, eos_token_id=None)  # fmt: skip # noqa: E501
        assert sample(sampler, prompt, 24, temperature=0).ids == expected[0, len(prompt) :].tolist()


def test_a_seed_gives_the_same_tokens_alone_and_in_company(policy):
    requests = [([*PROMPT, *range(i)], 6 + i, SamplingParams(temperature=1.0, seed=i)) for i in range(12)]
    alone = []
    for request in requests:
        with Sampler(policy, rows=1, cache_mb=1) as sampler:
            alone += wait(sampler.submit(*request))
    with Sampler(policy, rows=12, cache_mb=4) as sampler:
        together = wait(*[sampler.submit(*request) for request in requests])
    with Sampler(policy, rows=3, cache_mb=4) as sampler:
        queued = wait(*[sampler.submit(*request) for request in requests[::-1]])[::-1]
    for mine, theirs, late in zip(alone, together, queued, strict=True):
        assert mine.ids == theirs.ids == late.ids
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    assert len({tuple(g.ids[:6]) for g in alone}) > 6, "the seeds hardly matter"


def test_the_same_seed_twice_is_the_same_text_and_another_seed_is_not(sampler):
    first, again, other = (sample(sampler, PROMPT, seed=seed).ids for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_requests_join_and_leave_while_others_run(policy, sampler):
    long = sampler.submit(PROMPT, 120, SamplingParams(seed=0))
    shorts = []
    for i in range(6):
        shorts += wait(sampler.submit([*PROMPT, i], 3, SamplingParams(seed=i)))
    (generation,) = wait(long)
    assert len(generation.ids) == 120
    assert gaps(policy, [generation, *shorts]).max() < 1e-3


def test_more_requests_than_rows_wait_for_their_turn(policy):
    with Sampler(policy, rows=2, cache_mb=1) as sampler:
        generations = wait(*[sampler.submit([*PROMPT, i], 5, SamplingParams(seed=i)) for i in range(9)])
    assert [g.prompt_ids[-1] for g in generations] == list(range(9))
    assert gaps(policy, generations).max() < 1e-3


def test_any_mixture_of_conversations_is_sampled_from_the_policy(policy):
    """Forks, continued turns, nested prompts, cancelled requests, a small cache: log-probabilities must not care."""
    rng = random.Random(0)
    with Sampler(policy, rows=5, cache_mb=0) as sampler:
        histories = [[rng.randrange(250) for _ in range(rng.randint(1, 12))] for _ in range(4)]
        generations = []
        for wave in range(8):
            prompts = [h[: rng.randint(1, len(h))] if rng.random() < 0.3 else h for h in rng.choices(histories, k=7)]
            futures = [
                sampler.submit(p, rng.randint(1, 9), SamplingParams(seed=100 * wave + i)) for i, p in enumerate(prompts)
            ]
            futures[3].cancel()
            done = wait(*[f for f in futures if not f.cancelled()])
            generations += done
            histories += [[*g.prompt_ids, *g.ids, rng.randrange(250)] for g in done[:2]]
    assert len(generations) >= 48
    assert gaps(policy, generations).max() < 1e-3


def test_siblings_prefill_their_prompt_once(sampler):
    wait(*[sampler.submit(PROMPT, 4, SamplingParams(seed=i)) for i in range(8)])
    assert sampler.prefilled_tokens == len(PROMPT) - 1
    assert sampler.sampled_tokens == 8 * 4


def test_a_second_turn_computes_only_what_is_new(policy, sampler):
    first = sample(sampler, PROMPT, 6, seed=3)
    before = sampler.prefilled_tokens
    history = [*first.prompt_ids, *first.ids]
    second = sample(sampler, [*history, 50, 51, 52], 6, seed=4)
    # The last token of a prompt and the last sampled token were never fed: 3 new ones, and those two change places.
    assert sampler.prefilled_tokens - before == 3
    assert sampler.reused_tokens == len(history) - 1
    assert gaps(policy, [second]).max() < 1e-3


def test_an_empty_cache_budget_changes_the_work_and_not_the_result(policy):
    results, prefilled = [], []
    for megabytes in (0, 4):
        with Sampler(policy, rows=2, cache_mb=megabytes) as sampler:
            first = sample(sampler, PROMPT, 6, seed=3)
            wait(*[sampler.submit([90 + i, 4, 4], 3, SamplingParams(seed=i)) for i in range(5)])
            second = sample(sampler, [*first.prompt_ids, *first.ids, 50], 6, seed=4)
            results.append((first.ids, second.ids))
            prefilled.append(sampler.prefilled_tokens)
    assert results[0] == results[1]
    assert prefilled[0] > prefilled[1]


def test_long_prompts_are_prefilled_in_several_forwards(policy, monkeypatch):
    monkeypatch.setattr("homeground.rollouts.decoder.PREFILL_TOKENS", 10)
    with Sampler(policy, rows=8, cache_mb=4) as sampler:
        prompts = [PROMPT, [*PROMPT, 1, 2, 3], list(range(40)), [*range(20), 200], [1]]
        generations = wait(*[sampler.submit(p, 5, SamplingParams(seed=i)) for i, p in enumerate(prompts)])
    assert gaps(policy, generations).max() < 1e-3


def test_publish_bumps_the_version_and_forgets_old_keys(policy, sampler):
    first = sample(sampler, PROMPT, seed=1)
    before = sampler.prefilled_tokens
    step(policy)
    assert sample(sampler, PROMPT, seed=1).ids == first.ids, "weights must not move before they are published"
    assert sampler.prefilled_tokens == before
    assert sampler.publish() == sampler.weights_version == 1
    second = sample(sampler, PROMPT, seed=1)
    assert (first.weights_version, second.weights_version) == (0, 1)
    assert sampler.prefilled_tokens == before + len(PROMPT) - 1
    assert second.ids != first.ids
    assert gaps(policy, [second]).max() < 1e-3


def test_a_row_that_began_before_a_publish_leaves_no_keys_behind(policy):
    lock = threading.Lock()
    with Sampler(policy, rows=2, cache_mb=4, compute=lock) as sampler:
        running = sampler.submit(PROMPT, 150, SamplingParams(seed=0))
        while sampler.sampled_tokens < 3:
            time.sleep(0.001)
        step(policy)
        sampler.publish()
        (old,) = wait(running)
        assert old.weights_version == 0
        before = sampler.reused_tokens
        later = sample(sampler, [*old.prompt_ids, *old.ids][:40], seed=1)
        assert sampler.reused_tokens == before
    assert gaps(policy, [later]).max() < 1e-3


def test_a_stop_id_ends_the_row_and_is_kept(sampler):
    free = sample(sampler, PROMPT, 20, temperature=0).ids
    stop = free[4]
    generation = sample(sampler, PROMPT, 20, temperature=0, stop_ids=[stop])
    assert generation.ids == free[: free.index(stop) + 1]
    assert generation.finish_reason is FinishReason.STOP
    cut = sample(sampler, PROMPT, 3, temperature=0)
    assert cut.finish_reason is FinishReason.LENGTH
    assert cut.ids == free[:3]


def test_top_k_of_one_is_greedy_and_top_p_narrows(policy, sampler):
    greedy = sample(sampler, PROMPT, 10, temperature=0)
    one = sample(sampler, PROMPT, 10, temperature=1.0, top_k=1, seed=3)
    assert one.ids == greedy.ids
    assert sample(sampler, PROMPT, 10, temperature=1.0, top_p=1e-6, seed=3).ids == greedy.ids
    assert gaps(policy, [one]).max() < 1e-3, "log-probabilities must be the policy's, before truncation"


@pytest.mark.parametrize(("prompt", "n", "message"), [
    ([1] * 200, 57, r"200 prompt tokens and 57 to sample exceed the context of 256"),
    ([], 4, "at least one token"),
    ([1], 0, "max_tokens >= 1"),
])  # fmt: skip
def test_a_request_that_cannot_run_says_why(sampler, prompt, n, message):
    with pytest.raises(ValueError, match=message):
        sampler.submit(prompt, n)


def test_the_whole_context_can_be_filled(policy, sampler):
    generation = sample(sampler, [1] * 200, 56, seed=0)
    assert len(generation.ids) == 56
    assert gaps(policy, [generation]).max() < 1e-3


def test_a_cancelled_request_makes_room(policy):
    with Sampler(policy, rows=1, cache_mb=1) as sampler:
        long = sampler.submit(PROMPT, 240)
        while sampler.sampled_tokens == 0:
            time.sleep(0.001)
        assert long.cancel()
        after = sample(sampler, PROMPT, 5, seed=1)
        assert sampler.sampled_tokens < 240
    assert gaps(policy, [after]).max() < 1e-3


def test_closing_cancels_what_runs_and_refuses_what_comes(policy):
    sampler = Sampler(policy, rows=1, cache_mb=1)
    running, waiting = sampler.submit(PROMPT, 240), sampler.submit(PROMPT, 240)
    sampler.close()
    for future in (running, waiting):
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(timeout=10)
    with pytest.raises(RuntimeError, match="closed"):
        sampler.submit(PROMPT, 1)


def test_nothing_is_computed_while_a_trainer_holds_the_lock(policy):
    lock = threading.Lock()
    with Sampler(policy, rows=1, cache_mb=1, compute=lock) as sampler:
        with lock:
            future = sampler.submit(PROMPT, 2)
            with pytest.raises(concurrent.futures.TimeoutError):
                future.result(timeout=0.2)
            assert sampler.prefilled_tokens == sampler.sampled_tokens == 0
        assert len(wait(future)[0].ids) == 2


@pytest.mark.parametrize("prompt", [[1, 2, 3], [1]], ids=["in prefill", "in a decode step"])
def test_a_failure_inside_reaches_whoever_waits(policy, sampler, prompt, monkeypatch):
    def breaks(*_, **__):
        raise ArithmeticError("planted")

    with monkeypatch.context() as patch:
        patch.setattr("homeground.rollouts.decoder.forward", breaks)
        for _ in range(2):
            with pytest.raises(ArithmeticError, match="planted"):
                sampler.submit(prompt, 3).result(timeout=20)
    assert gaps(policy, [sample(sampler, prompt, 4)]).max() < 1e-3


def memory(sampler):
    """Bytes of all tensors that the cache's nodes hold on to, views counted by what they keep alive."""
    stack, storages = list(sampler._decoder.cache.root.children.values()), {}
    while stack:
        node = stack.pop()
        stack += node.children.values()
        for tensor in (node.keys, node.values):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


def test_memory_stays_under_the_budget_after_many_distinct_requests(policy):
    rng = random.Random(0)
    with Sampler(policy, rows=8, cache_mb=1) as sampler:
        budget = 1 << 20
        computed = 0
        for wave in range(30):
            shared = [rng.randrange(250) for _ in range(40)]
            futures = [
                sampler.submit(shared[: rng.randint(20, 40)] + [rng.randrange(250) for _ in range(60)], 20)
                for _ in range(8)
            ]
            computed += sum(len(g.prompt_ids) + len(g.ids) for g in wait(*futures))
            assert memory(sampler) <= budget, f"wave {wave}"
            assert sampler._decoder.tails.bytes == 0, "tails are held though no row runs"
        token = memory(sampler) / sum(len(n.ids) for n in sampler._decoder.cache._nodes())
        assert computed * token > 4 * budget, "too little was computed to fill the budget"


def test_a_stop_string_ends_the_row_with_the_token_that_completes_it(policy, sampler):
    tokenizer = policy.tokenizer
    found = 0
    for seed in range(12):
        free = sample(sampler, PROMPT, 24, seed=seed)
        text = tokenizer.decode(free.ids, skip_special_tokens=True)
        letters = [c for c in text if c.isascii() and c.isprintable()]
        if len(letters) < 3:
            continue
        stop = text[(at := text.index(letters[1])) : at + 2]
        if "\N{REPLACEMENT CHARACTER}" in stop:
            continue
        params = SamplingParams(seed=seed)
        stopped = sampler.submit(PROMPT, 24, params, stop=["never seen", stop]).result(timeout=60)
        n = len(stopped.ids)
        assert stopped.ids == free.ids[:n]
        assert stopped.finish_reason is FinishReason.STOP
        assert stop in tokenizer.decode(free.ids[:n], skip_special_tokens=True)
        assert stop not in tokenizer.decode(free.ids[: n - 1], skip_special_tokens=True)
        found += 1
    assert found > 3


@pytest.mark.parametrize("stop", ["text", [""], ["a", ""]])
def test_stop_strings_are_a_list_of_texts(sampler, stop):
    with pytest.raises(ValueError, match="non-empty strings"):
        sampler.submit(PROMPT, 3, stop=stop)


def test_a_cancelled_row_leaves_the_batch_and_lets_its_nodes_go(policy):
    with Sampler(policy, rows=4, cache_mb=4) as sampler:
        doomed = [sampler.submit([*PROMPT, 3], 240) for _ in range(2)]
        staying = sampler.submit([*PROMPT, 4], 100, SamplingParams(seed=1))
        while sampler.sampled_tokens < 9:
            time.sleep(0.001)
        for future in doomed:
            assert future.cancel()
        (stayed,) = wait(staying)
        assert sampler._decoder.rows == []
        assert all(node.users == 0 for node in sampler._decoder.cache._nodes())
        assert sampler.sampled_tokens < 340
    assert gaps(policy, [stayed]).max() < 1e-3


@pytest.fixture
def together(monkeypatch):
    """How many rows ran, and bytes of their tails, in each decode step."""
    seen = []
    widen = Tails.widen

    def watched(tails):
        widen(tails)
        seen.append((len(tails.lengths), tails.bytes))

    monkeypatch.setattr(Tails, "widen", watched)
    return seen


@pytest.mark.parametrize("deterministic", [False, True])
def test_rows_start_only_where_there_is_memory_for_all_that_they_may_need(policy, deterministic, together):
    """A token of this model takes 512 bytes: 1 MiB is promised to 16 rows of 128 tokens, whatever they hold yet."""
    with Sampler(policy, rows=64, cache_mb=4, rows_mb=1, deterministic=deterministic) as sampler:
        requests = [([i, *range(49)], 60 if i % 2 else 70, SamplingParams(seed=i)) for i in range(40)]
        generations = wait(*[sampler.submit(*request) for request in requests])
    assert [len(g.ids) for g in generations] == [n for _, n, _ in requests]
    assert max(rows for rows, _ in together) == 16
    # Empty places come on top of what was promised.
    assert max(held for _, held in together) < 2 << 20
    assert gaps(policy, generations).max() < 1e-3


def test_a_prompt_that_siblings_share_is_counted_once(policy, together):
    with Sampler(policy, rows=64, cache_mb=4, rows_mb=1) as sampler:
        generations = wait(*[sampler.submit(list(range(110)), 15, SamplingParams(seed=i)) for i in range(30)])
    assert max(rows for rows, _ in together) > 16, "each alone would hold 125 tokens"
    assert gaps(policy, generations).max() < 1e-3


def test_a_request_larger_than_the_memory_of_all_rows_runs_alone(policy, together):
    with Sampler(policy, rows=8, cache_mb=4, rows_mb=0) as sampler:
        long = sampler.submit(PROMPT, 60, SamplingParams(seed=0))
        waiting = [sampler.submit([*PROMPT, i], 5, SamplingParams(seed=i)) for i in range(3)]
        assert waiting[1].cancel()
        generations = wait(long, waiting[0], waiting[2])
    assert max(rows for rows, _ in together) == 1
    assert gaps(policy, generations).max() < 1e-3


def test_closing_cancels_requests_that_wait_for_memory(policy):
    sampler = Sampler(policy, rows=8, cache_mb=1, rows_mb=0)
    futures = [sampler.submit(PROMPT, 240) for _ in range(3)]
    while sampler.sampled_tokens == 0:
        time.sleep(0.001)
    sampler.close()
    for future in futures:
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(timeout=10)


def test_one_long_prompt_beside_short_ones_does_not_make_them_long(policy, together):
    with Sampler(policy, rows=16, cache_mb=4) as sampler:
        prompts = [list(range(180)), *([200 + i, 7] for i in range(15))]
        generations = wait(*[sampler.submit(p, 40, SamplingParams(seed=i)) for i, p in enumerate(prompts)])
    rows, held = max(together)
    assert rows == 16
    assert held == (256 + 15 * 64) * 512, "sixteen long tails would be 16 x 256 tokens"
    assert gaps(policy, generations).max() < 1e-3
