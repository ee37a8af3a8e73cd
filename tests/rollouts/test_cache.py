import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from homeground.rollouts.cache import TrieCache

runs = st.lists(st.integers(0, 2), min_size=1, max_size=6)
BYTES_PER_TOKEN = 2 * 2 * 1 * 3 * 4


def content(ids, start=0):
    """Keys and values that are a function of the whole prefix, as a model's are: (2 layers, 1 head, tokens, 3)."""
    marks = [float(hash(tuple(ids[: i + 1])) % 10_007) for i in range(start, len(ids))]
    keys = torch.tensor(marks).view(1, 1, -1, 1).expand(2, 1, -1, 3) + torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    return keys, -keys


def cache(budget=1 << 20):
    return TrieCache(budget)


def store(trie, ids):
    node, depth = trie.match(ids)
    if depth < len(ids):
        keys, values = content(ids, depth)
        node = trie.insert(node, ids[depth:], keys, values)
    return node


def assert_holds(node, ids):
    """The path down to ``node`` carries the keys and values of ``ids``."""
    path = node.path()
    assert [i for n in path for i in n.ids] == list(ids)
    if ids:
        keys, values = content(ids)
        assert torch.equal(torch.cat([n.keys for n in path], 2), keys)
        assert torch.equal(torch.cat([n.values for n in path], 2), values)


@given(st.lists(runs, min_size=1, max_size=12))
def test_every_stored_run_is_found_again_whole(stored):
    trie = cache()
    for ids in stored:
        assert_holds(store(trie, ids), ids)
    for ids in stored:
        node, depth = trie.match(ids)
        assert depth == len(ids)
        assert_holds(node, ids)


@given(st.lists(runs, min_size=1, max_size=8), runs)
def test_a_match_is_the_longest_stored_prefix(stored, query):
    trie = cache()
    for ids in stored:
        store(trie, ids)
    node, depth = trie.match(query)
    shared = [next((i for i, (a, b) in enumerate(zip(ids, query, strict=False)) if a != b), None) for ids in stored]
    longest = max(min(len(ids), len(query)) if at is None else at for ids, at in zip(stored, shared, strict=True))
    assert depth == longest
    assert_holds(node, query[:depth])


@given(st.lists(runs, min_size=1, max_size=8))
def test_each_token_is_stored_once(stored):
    trie = cache()
    for ids in stored:
        store(trie, ids)
    prefixes = {tuple(ids[: i + 1]) for ids in stored for i in range(len(ids))}
    total = 0
    stack = list(trie.root.children.values())
    while stack:
        node = stack.pop()
        total += node.bytes
        stack += node.children.values()
    assert total == len(prefixes) * BYTES_PER_TOKEN


def test_inserting_below_a_node_that_has_the_same_beginning_shares_it():
    trie = cache()
    store(trie, [1, 2, 3])
    keys, values = content([1, 2, 3, 4])
    node = trie.insert(trie.root, [1, 2, 3, 4], keys, values)
    assert_holds(node, [1, 2, 3, 4])
    assert len(trie.root.children) == 1


@settings(max_examples=60)
@given(st.lists(runs, min_size=2, max_size=12), st.integers(0, 12), st.data())
def test_eviction_respects_the_budget_and_spares_what_runs(stored, tokens, data):
    trie = cache(tokens * BYTES_PER_TOKEN)
    for ids in stored:
        store(trie, ids)
    running = data.draw(st.sampled_from(stored))
    held = trie.match(running)[0]
    for node in held.path():
        node.users += 1
    trie.evict()
    assert trie.match(running)[1] == len(running), "a running row lost its keys"
    assert_holds(held, running)
    left = _nodes(trie)
    assert sum(n.bytes for n in left) <= tokens * BYTES_PER_TOKEN or all(n.users for n in left if not n.children)
    for node in held.path():
        node.users -= 1
    trie.evict()
    assert sum(n.bytes for n in _nodes(trie)) <= tokens * BYTES_PER_TOKEN


def test_the_least_recently_used_leaf_goes_first():
    trie = cache(6 * BYTES_PER_TOKEN)
    for ids in ([1, 1, 1], [2, 2, 2], [3, 3, 3]):
        store(trie, ids)
    trie.match([1, 1, 1])
    trie.evict()
    assert [trie.match(ids)[1] for ids in ([1, 1, 1], [2, 2, 2], [3, 3, 3])] == [3, 0, 3]


def test_a_split_keeps_the_number_of_rows_that_need_both_halves():
    trie = cache()
    node = store(trie, [1, 2, 3])
    node.users = 2
    upper, depth = trie.match([1, 2])
    assert depth == 2
    assert upper.users == 2
    assert node.users == 2
    assert_holds(node, [1, 2, 3])


@settings(max_examples=60)
@given(st.lists(runs, min_size=1, max_size=12), st.data())
def test_the_bytes_counted_are_the_bytes_of_memory(stored, data):
    trie = cache()
    for ids in stored:
        store(trie, ids)
        trie.match(data.draw(runs))
    memory = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for n in _nodes(trie) for t in (n.keys, n.values)
    }
    assert trie.bytes == sum(memory.values())
    trie._budget = trie.bytes // 2
    trie.evict()
    left = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for n in _nodes(trie) for t in (n.keys, n.values)
    }
    assert trie.bytes == sum(left.values()) <= trie._budget
    trie.clear()
    assert trie.bytes == 0


@given(st.lists(runs, min_size=1, max_size=8))
def test_every_node_knows_where_it_starts(stored):
    trie = cache()
    for ids in stored:
        for node in store(trie, ids).path():
            above = node.path()[:-1]
            assert node.start == sum(len(n.ids) for n in above)


def test_rows_keep_their_path_when_everything_is_forgotten():
    trie = cache()
    node = store(trie, [1, 2, 3])
    trie.clear()
    assert trie.match([1, 2, 3])[1] == 0
    assert_holds(node, [1, 2, 3])


def test_the_cache_owns_what_it_keeps():
    trie = cache()
    keys, values = (t.clone() for t in content([1, 2]))
    node = trie.insert(trie.root, [1, 2], keys, values)
    keys.zero_()
    assert_holds(node, [1, 2])


def _nodes(trie):
    found, stack = [], list(trie.root.children.values())
    while stack:
        node = stack.pop()
        found.append(node)
        stack += node.children.values()
    return found
