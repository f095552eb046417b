"""A PAD language model as a stock transformers checkpoint, which any engine serves without a line of this package."""

import logging
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from padnet_hf.errors import PADNetError
from padnet_hf.export.stock_parts import parts_of
from padnet_hf.export.stock_targets import StockTarget, target_for
from padnet_hf.hub.access import repository_name
from padnet_hf.hub.model_card import CARD
from padnet_hf.hub.whole_files import check_new, filled_whole, write_text
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.building import without_values
from padnet_hf.models.pad_model import PADModelMixin

logger = logging.getLogger(__name__)

_SHAPES = ((1, 1), (2, 17), (3, 33))
"""Batches and lengths that the stock model is checked with."""

_STEPS = 16
"""Tokens that both models continue a text by, greedily."""

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Of the largest logit; half precision rounds at other places in a stock model."""

_TOLERANCE_OF_HALVES = 0.05
"""Of most tokens: where two experts are nearly level, rounding may send a token to the other one."""


@dataclass(frozen=True)
class StockReport:
    """What was written.

    Attributes:
        target: the model type.
        architecture: transformers' class.
        parameters: of the stock model.
        max_difference: of any logit from the PAD model's, over all checks.
        largest_logit: the largest absolute one there.
        greedy_tokens: how many greedy tokens were compared, and equal; 0 in half precision, where a tie may fall
            either way.
    """

    target: str
    architecture: str
    parameters: int
    max_difference: float
    largest_logit: float
    greedy_tokens: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        tokens = f", {self.greedy_tokens} greedy tokens equal" if self.greedy_tokens else ""
        return (
            f"{self.architecture}, {self.parameters:,} parameters; maximum difference of logits from the PAD model's "
            f"{self.max_difference:.1e}, with logits up to {self.largest_logit:.3g}{tokens}"
        )


@torch.no_grad()
def to_stock(model: PADModelMixin, target: str | None = None) -> PreTrainedModel:
    """The stock model that a PAD language model partitioned by unit is equal to.

    Scale factors are folded into the weights. The values are copies.

    Args:
        model: of a decoder family, with a language model's head.
        target: "granitemoeshared", "qwen2_moe" or "qwen3_next", or a trained mixture's own, "mixtral", "olmoe" or
            "qwen3_moe", for experts of which neurons were left out; the default of the family if not given.

    Raises PADNetError if the model has no such form, or the target cannot hold it.
    """
    chosen = _target(model, target)
    parts = parts_of(model)
    chosen.check(model.config, parts)
    with without_values(model.dtype):
        stock = chosen.model_class(chosen.config(model.config, parts))
    state: dict[str, Tensor] = {}
    layers = tuple(f"{model.base_model_prefix}.layers.{number}.mlp." for number in parts)
    for name, tensor in model.state_dict().items():
        if not name.startswith(layers):
            state[name] = chosen.attention(name, tensor, model.config)
    for number, of_layer in parts.items():
        state |= chosen.layer(f"{model.base_model_prefix}.layers.{number}.", of_layer)
    state |= chosen.added(model.config, state)
    stock.load_state_dict(state)
    stock.tie_weights()
    if getattr(model, "generation_config", None) is not None:
        stock.generation_config = type(model.generation_config).from_dict(model.generation_config.to_dict())
    return stock.to(model.device).eval()


def _target(model: PADModelMixin, name: str | None) -> StockTarget:
    if not type(model).__name__.endswith("ForCausalLM"):
        raise PADNetError(
            f"{type(model).__name__} is no language model with its head (...ForCausalLM), which alone have stock "
            "architectures."
        )
    leaves_out = any(weight.leaves_out for weight in pad_weights(model).values())
    return target_for(type(model.config).dense_class.model_type, name, leaves_out=leaves_out)


def export_stock(
    model: PADModelMixin,
    folder: str | PathLike[str],
    target: str | None = None,
    *,
    processing_class: PreTrainedTokenizerBase | None = None,
    max_shard_size: int | str = "50GB",
) -> StockReport:
    """Write a stock checkpoint with its tokenizer and card, checked against the model before it is there.

    Args:
        folder: new or empty; it is filled whole or not at all.
        target: see `to_stock`.
        processing_class: tokenizer to save beside the model.
        max_shard_size: of a file of weights, as for `save_pretrained`.

    Raises PADNetError for what cannot be written, and if the stock model gives other logits or greedy tokens.
    """
    path = Path(folder)
    check_new(path)
    was_training = model.training
    try:
        stock = to_stock(model.eval(), target)
        with filled_whole(path) as unfinished:
            stock.save_pretrained(unfinished, max_shard_size=max_shard_size)
            written = type(stock).from_pretrained(unfinished, dtype=model.dtype).to(model.device)
            report = _compared(model, written)
            if processing_class is not None:
                processing_class.save_pretrained(unfinished)
            _write_card(unfinished, model, report)
    finally:
        model.train(was_training)
    return report


@torch.no_grad()
def _compared(model: PADModelMixin, stock: PreTrainedModel) -> StockReport:
    """What was written, held against the model. Raises PADNetError if it is another one."""
    differences, largest = [], 0.0
    generator, steps = torch.Generator().manual_seed(0), min(_STEPS, model.config.max_position_embeddings // 2)
    for batch, length in _SHAPES:
        length = max(1, min(length, model.config.max_position_embeddings - steps))
        ids = torch.randint(model.config.vocab_size, (batch, length), generator=generator).to(model.device)
        expected, found = (some(ids).logits.float() for some in (model, stock))
        differences.append((expected - found).abs().amax(dim=-1).flatten())
        largest = max(largest, float(expected.abs().max()))
    by_token, is_exact = torch.cat(differences), model.dtype in _TOLERANCE
    difference = float(by_token.max())
    allowed = _TOLERANCE.get(model.dtype, _TOLERANCE_OF_HALVES) * max(largest, 1)
    if not (difference if is_exact else float(by_token.median())) <= allowed:
        raise PADNetError(
            f"the stock model gives other logits than the PAD model (difference {difference:.1e}, logits up to "
            f"{largest:.1e}), so nothing was written: use the tested version of transformers (constraints.txt)."
        )
    compared = 0
    if is_exact:
        options = {"max_new_tokens": steps, "min_new_tokens": steps, "do_sample": False, "num_beams": 1}
        options |= {"pad_token_id": model.config.pad_token_id or 0, "attention_mask": torch.ones_like(ids)}
        one, other = (some.generate(ids, **options) for some in (model, stock))
        compared = int((one == other)[:, ids.shape[1] :].sum())
        if compared < one[:, ids.shape[1] :].numel():
            raise PADNetError("the stock model continues a text in another way, so nothing was written.")
    parameters = sum(parameter.numel() for parameter in stock.parameters())
    return StockReport(stock.config.model_type, type(stock).__name__, parameters, difference, largest, compared)


def _write_card(folder: Path, model: PADModelMixin, report: StockReport) -> None:
    config, base = model.config, model.config.base_model
    record = config.partition or {}
    ratio = record.get("dynamic_ratio")
    data = ModelCardData(library_name="transformers", pipeline_tag="text-generation", tags=["padnet"])
    if repository_name(base) is not None:
        data.base_model = base
    share = f", {ratio:.0%} of whose neurons are dynamic" if isinstance(ratio, int | float) else ""
    text = f"""---
{data.to_yaml()}
---
# {report.architecture}

A stock transformers checkpoint: a mixture of {config.num_experts} experts, {config.num_experts_per_tok} for each
token, beside a shared one. It is equal to a partially dynamic network
([PAD-Net](https://aclanthology.org/2023.acl-long.803), He et al., ACL 2023) of type `{config.model_type}`{share}:
logits differ by at most {report.max_difference:.1e}.

```python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("FOLDER OR REPOSITORY")
```
"""
    write_text(folder / CARD, str(ModelCard(text)))
