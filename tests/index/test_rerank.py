"""The cross-encoder stage, with a tiny one trained here: no reranker's weights come with a package."""

import random
from itertools import chain

import pytest
import torch
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from homeground.base.errors import HomegroundError
from homeground.index import Index, IndexConfig, Stage
from homeground.index.rerank import SentenceReranker
from tests.corpus.village import FILES

EMPTY = (2).to_bytes(8, "little") + b"{}"
"""Safetensors without a tensor."""

# Names that say nothing to the embedder: only a stage that was trained on them can rank by them.
TOPICS = {"alpha": ["coin", "price", "paid"], "beta": ["blade", "rod", "anvil"], "gamma": ["hoof", "girth", "nails"]}
QUERY = "everything in the village about {topic}"


PIECES = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])


def all_words():
    text = " ".join([*FILES.values(), *TOPICS, *chain(*TOPICS.values()), QUERY])
    return sorted({word.lower() for word, _ in PIECES.pre_tokenize_str(text)})


def tiny_tokenizer():
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *all_words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = PIECES
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def tiny_cross_encoder(folder, labels=1):
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=labels, max_position_embeddings=256,
        initializer_range=0.1,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pairs(rng, count, noise, fewest, most):
    """(query, text, label): a text belongs to the query's topic or to another one, among words that say nothing."""
    for _ in range(count):
        asked = rng.choice(list(TOPICS))
        told = asked if rng.random() < 0.5 else rng.choice(list(TOPICS))
        words = rng.choices(TOPICS[told], k=3) + rng.choices(noise, k=rng.randint(fewest, most))
        rng.shuffle(words)
        yield QUERY.format(topic=asked), " ".join(words), float(asked == told)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a tiny cross-encoder and its last loss; short easy texts first, then such as the village has."""
    folder = tiny_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))
    model = CrossEncoder(str(folder), max_length=128)
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=1e-3)
    rng = random.Random(0)
    everything = [word for word in all_words() if word not in chain(TOPICS, *TOPICS.values())]
    lessons = [(200, everything[::15], 6, 9), (80, everything, 6, 40)]
    losses = []
    model.train()
    for steps, *noise in lessons:
        for _ in range(steps):
            queries, texts, labels = zip(*pairs(rng, 64, *noise), strict=True)
            batch = model.tokenizer(list(queries), list(texts), padding=True, return_tensors="pt").to(model.device)
            logits = model.model(**batch).logits.squeeze(-1)
            targets = torch.tensor(labels, device=model.device)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    model.eval()
    model.save_pretrained(str(folder))
    return folder, sum(losses[-10:]) / 10


def test_a_tiny_cross_encoder_learns_the_synthetic_pairs(trained):
    folder, loss = trained
    assert loss < 0.2
    reranker = SentenceReranker(str(folder))
    scores = reranker.score(QUERY.format(topic="beta"), ["self blade rod anvil", "self coin price paid"])
    assert scores[0] > scores[1]


@pytest.mark.parametrize("topic", list(TOPICS))
def test_the_stage_reorders_what_fusion_found(shared_village, tmp_path, trained, topic):
    folder, _ = trained
    index, _ = Index.build(tmp_path / "index", [shared_village], IndexConfig(rerank=str(folder), rerank_weight=1.0))
    query = QUERY.format(topic=topic)
    without = index.search(query, 20, stages=[Stage.DENSE, Stage.LEXICAL])
    reranked = index.search(query, 20)
    assert {hit.id for hit in reranked} == {hit.id for hit in without}
    assert [hit.id for hit in reranked] != [hit.id for hit in without]
    raw = [hit.scores["rerank"] for hit in reranked]
    assert raw == sorted(raw, reverse=True)
    assert [hit.score for hit in reranked] == sorted((hit.score for hit in reranked), reverse=True)
    assert all({"dense", "lexical", "fused"} <= set(hit.scores) for hit in reranked)

    def mean_rank(hits):
        ranks = [rank for rank, hit in enumerate(hits, 1) if any(word in hit.text for word in TOPICS[topic])]
        return sum(ranks) / len(ranks)

    assert mean_rank(reranked) < mean_rank(without)


def test_the_stage_is_off_unless_the_settings_name_a_model(shared_index):
    assert all("rerank" not in hit.scores for hit in shared_index.search("iron", 5))


def test_a_reranker_that_cannot_rank_says_so(tmp_path):
    three = tiny_cross_encoder(tmp_path / "three", labels=3)
    with pytest.raises(HomegroundError, match="3 scores for a pair") as caught:
        SentenceReranker(str(three)).score("query", ["text"])
    assert "index.rerank" in str(caught.value.hint)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "no-such-type"}')
    (broken / "model.safetensors").write_bytes(EMPTY)
    with pytest.raises(HomegroundError, match="cannot be loaded"):
        SentenceReranker(str(broken)).score("query", ["text"])
