"""LoRA (Hu et al. 2022) on a PAD model or a dense one: a stock LoraConfig, and nothing of ours in its files."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from padnet_hf.adapters.extra import import_peft
from padnet_hf.adapters.targets import Target, choose_targets
from padnet_hf.errors import PADNetError
from padnet_hf.method.shards import is_sharded

if TYPE_CHECKING:
    from peft import LoraConfig

_TASKS = {
    "SequenceClassification": "SEQ_CLS",
    "TokenClassification": "TOKEN_CLS",
    "QuestionAnswering": "QUESTION_ANS",
    "CausalLM": "CAUSAL_LM",
}
"""End of a model class's name -> PEFT's task. It trains and saves a new head; a language model's is old, and
stays as it is."""


def lora_config(
    model: nn.Module, *, rank: int = 8, alpha: float = 16, targets: Sequence[str] | None = None, **fields: Any
) -> "LoraConfig":
    """A LoraConfig for `peft.get_peft_model(model, config)`; partition the model first.

    Every matrix W (O, I) that is adapted becomes W + alpha / rank * B A, A (rank, I) and B (O, rank), B starting at
    zero; of experts every copy has its own A and B, and the static part one. Routers are trained in full, and so is the
    head, but that of a language model is not trained.

    Args:
        rank: of A and B, 1 to the smaller side of the smallest matrix.
        alpha: the scale is alpha / rank.
        targets: groups (`padnet_hf.adapters.targets`) or ends of names of linear layers; None for all groups that the
            model has, without the experts where they are partitioned by element.
        fields: others of LoraConfig; `modules_to_save` is added to ours.

    Raises PADNetError for a target that matches nothing, cannot be adapted or is tied to another layer, a rank out of
    range, parameters spread over processes (tensor or expert parallelism, FSDP2), or without PEFT.
    """
    peft = import_peft()
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise PADNetError(f"the LoRA rank is {rank!r}, but must be a whole number of at least 1.")
    if not alpha > 0:
        raise PADNetError(f"the LoRA alpha is {alpha!r}, but must be above 0; 16 is usual.")
    if is_sharded(model.parameters()):
        raise PADNetError(
            f"the parameters of this {type(model).__name__} are spread over processes, but an adapter is made on whole "
            "weights: load the model without a DistributedConfig (or make the adapter before FSDP starts)."
        )
    chosen = choose_targets(model, targets)
    _check_rank(rank, chosen)
    _check_tied(model, chosen)
    parameters = sorted({target.relative for target in chosen if target.kind == "parameter"})
    saved = {target.relative for target in chosen if target.kind == "saved"} | set(fields.pop("modules_to_save", ()))
    task = next((task for end, task in _TASKS.items() if type(model).__name__.endswith(end)), None)
    if task is None and hasattr(model, "classifier"):
        saved.add("classifier")
    return peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=_pattern([target for target in chosen if target.kind == "module"]),
        target_parameters=parameters or None,
        modules_to_save=sorted(saved) or None,
        task_type=task,
        **fields,
    )


def _check_rank(rank: int, chosen: Sequence[Target]) -> None:
    matrices = [target for target in chosen if target.kind != "saved"]
    if not matrices:
        raise PADNetError("there is nothing for LoRA to adapt: add 'attention' to the targets.")
    smallest = min(matrices, key=lambda target: min(target.sizes))
    if rank > min(smallest.sizes):
        raise PADNetError(
            f"the LoRA rank is {rank}, but {smallest.name} is a matrix of {smallest.sizes[0]} x {smallest.sizes[1]}: "
            f"choose a rank of at most {min(smallest.sizes)}, or targets without it."
        )


def _check_tied(model: nn.Module, chosen: Sequence[Target]) -> None:
    """A matrix of two layers: an adapter on one of them would be merged into both."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name.removesuffix(".weight"))
    for target in chosen:
        tied = next((group for group in names.values() if target.name in group and len(group) > 1), None)
        if tied and target.kind == "module":
            raise PADNetError(
                f"the LoRA target {target.name!r} is one matrix with {', '.join(set(tied) - {target.name})}, and "
                "merged the adapter would change both: leave it out, or train it in full with modules_to_save=["
                f"{target.relative!r}], which gives it a matrix of its own."
            )


def _pattern(modules: Sequence[Target]) -> str | list[str]:
    """A regular expression for exactly these: by the ends of names, 'output.dense' would match two kinds of layers."""
    names = sorted({_any_number(target) for target in modules})
    return rf"(?:.*\.)?(?:{'|'.join(names)})" if names else []


def _any_number(target: Target) -> str:
    relative = re.escape(target.relative)
    return rf"\d+\.{relative}" if target.group else relative
