"""How well a step uses the machine: operations from the model's shape, against the measured rate of matrix products.

Counted are the products that the model itself asks for, per *distinct* token of the forests that were computed (a
prefix that several rows share is computed, and counted, once). With W the parameters of the frozen linear layers
without the head, A those of the adapter, V x d the head's, and a multiply-add as two operations, forward and backward
of N tokens with M scored hidden states cost

    frozen layers     2 W N  +  2 W N              no gradient of a frozen weight, only that of its input
    adapter           2 A N  +  4 A N              gradients of its weights and of its input
    head              2 V d M  +  2 V d M
    attention         sum over layers of  4 h k  +  8 h k,  with h the width of all query heads, k the number of
                      (query, key) pairs: the depth of each token in its own path, plus one

What is computed a second time to save memory (gradient checkpointing, the head's chunks) is not counted, nor are
norms, activations and the optimizer: the share says how much of the rate does useful work. A sliding window is counted
as full attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from homeground.base.hardware import device_kind, matmul_rates
from homeground.policy.forest import TokenForest
from homeground.policy.load import Policy


@dataclass(frozen=True)
class ModelCost:
    """What decides the operations of a model.

    Attributes:
        frozen: parameters of frozen linear layers, head excluded.
        adapter: trained parameters.
        head: parameters of the output head.
        attention_width: heads x head size, summed over the layers with attention.
    """

    frozen: int
    adapter: int
    head: int
    attention_width: int

    def step_flops(self, forest: TokenForest) -> float:
        """Operations of one forward and backward of a forest."""
        tokens, scored = len(forest), len(forest.source.unique())
        pairs = float((forest.positions + 1).sum())
        layers = (4 * self.frozen + 6 * self.adapter) * tokens
        return layers + 4 * self.head * scored + 12 * self.attention_width * pairs


def model_cost(policy: Policy) -> ModelCost | None:
    """Read a policy's shape; None for mixtures of experts, of which a token passes only a part."""
    model = policy.model
    if any(p.dim() == 3 for p in model.parameters()):
        return None
    head = model.get_output_embeddings()
    trained = {id(p) for p in policy.trainable().values()}
    frozen = sum(
        _size(module)
        for module in model.modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head and id(module.weight) not in trained
    )
    return ModelCost(
        frozen=frozen,
        adapter=sum(p.numel() for p in policy.trainable().values()),
        head=_size(head) if isinstance(head, nn.Linear) else 0,
        attention_width=_attention_width(model),
    )


def machine_flops(policy: Policy) -> float:
    """Operations a second of this machine's matrix products in the policy's dtype, measured once a process."""
    rates = matmul_rates(device_kind(policy.device.type))
    return 1e12 * (rates.fp32 if policy.dtype is torch.float32 else rates.bf16)


def memory_mb(device: torch.device) -> float:
    """Memory of this process now, in MB (10^6 bytes): resident, or on CUDA the most that was reserved so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e6
    return psutil.Process().memory_info().rss / 1e6


def _size(module: nn.Module) -> int:
    """Parameters of a linear layer, packed or not."""
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    assert isinstance(module, Conv1D)
    return module.weight.numel()


def _attention_width(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0)
    size = getattr(config, "head_dim", None) or config.hidden_size // max(1, heads)
    return heads * size * config.num_hidden_layers
