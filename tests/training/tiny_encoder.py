"""A sentence encoder small enough to train in a test."""

from collections.abc import Sequence
from pathlib import Path

import torch


def write_encoder(folder: Path, words: Sequence[str]) -> Path:
    """Writes an encoder of two layers and 64 dimensions that knows these words whole; returns its folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    transformer = Transformer(str(folder), max_seq_length=96)
    SentenceTransformer(modules=[transformer, Pooling(64)], device="cpu").save(str(folder / "model"))
    return folder / "model"
