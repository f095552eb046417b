"""What can be asked of run_glue.py: the options, their defaults and the checks that need no data."""

from dataclasses import dataclass, field, fields
from typing import Literal, NoReturn

import torch
from transformers import HfArgumentParser, TrainingArguments

from padnet_hf import PADBertConfig, PADNetError, PartitionConfig

TRAINING_DEFAULTS = {
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
    "logging_steps": 50,
    "dataloader_pin_memory": torch.accelerator.is_available(),
}
"""Where this script's defaults differ from those of TrainingArguments."""

_EXPERTS = (
    "num_experts", "num_experts_per_tok", "moe_layers", "router_noise", "router_init_std", "balance_loss_coef"
)  # fmt: skip
"""Options that are fields of PADBertConfig."""

_IMP_FIELDS = {
    "dynamic_ratio": "dynamic_ratio",
    "granularity": "granularity",
    "imp_criterion": "criterion",
    "imp_rounds": "num_rounds",
    "imp_batches": "num_batches",
    "imp_scope": "scope",
    "imp_schedule": "schedule",
    "imp_static_branch": "static_branch",
}
"""Option -> field of PartitionConfig."""


def _option(text: str, default=None):
    return field(default=default, metadata={"help": text})


@dataclass
class ModelArguments:
    """Which model."""

    model_name_or_path: str | None = _option("Hub name or folder. Without it: the embedded all-MiniLM-L6-v2.")
    tokenizer_name: str | None = _option("Hub name or folder of the tokenizer, if not the model's.")
    model_revision: str = _option("Branch, tag or commit of the model on the Hub.", "main")
    cache_dir: str | None = _option("Where downloads are kept.")


@dataclass
class DataArguments:
    """Which data. Without any of them: the embedded movie review sentences."""

    task_name: str | None = _option("GLUE task: cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb, wnli.")
    data_dir: str | None = _option("Local parquet folder of the task, or a folder that holds one named like the task.")
    train_file: str | None = _option("Your own training data: .csv, .tsv, .json, .jsonl or .parquet.")
    validation_file: str | None = _option("Your own validation data.")
    test_file: str | None = _option("Your own data to predict.")
    text_column: str | None = _option("Column of the (first) text in your files. Found by itself where it is clear.")
    text_pair_column: str | None = _option("Column of the second text in your files.")
    label_column: str = _option("Column of the labels in your files; floats mean regression.", "label")
    max_seq_length: int = _option("Longer inputs are cut to this many tokens; shorter ones padded per batch.", 128)
    max_train_samples: int | None = _option("Use only the first so many training examples.")
    max_eval_samples: int | None = _option("Use only the first so many validation examples.")
    max_predict_samples: int | None = _option("Predict only the first so many test examples.")
    overwrite_output_dir: bool = _option("Remove an earlier run of this script from --output_dir first.", False)


@dataclass
class PADArguments:
    """Which network: dense with neither --use_pad nor --use_moe."""

    use_pad: bool = _option("Train a partitioned network (PAD-Net).", False)
    use_moe: bool = _option("Train a fully dynamic network (mixture of experts).", False)
    num_experts: int | None = _option("Copies E of each feed-forward network (8).")
    num_experts_per_tok: int | None = _option("Experts chosen per token (2).")
    moe_layers: list[int] | None = field(
        default=None, metadata={"help": "Numbers of the layers that become dynamic (all)."}
    )
    router_noise: bool | None = _option("Whether training adds learned noise to the routers' logits (True).")
    router_init_std: float | None = _option("Standard deviation of the routers' initial weights (0).")
    balance_loss_coef: float | None = _option("Weight of the balance loss in the training loss (0.01).")
    experts_implementation: Literal["pad", "eager", "grouped_mm"] | None = _option(
        "How the experts are computed (pad: eager on a CPU, grouped_mm elsewhere)."
    )
    dynamic_ratio: float | None = _option("Share of the parameters that stays dynamic, 0 to 1 (0.5).")
    granularity: Literal["element", "unit"] | None = _option("What is static or dynamic as a whole (element).")
    imp_criterion: str | None = _option("Score: snip, magnitude, random, or a registered one (snip).")
    imp_rounds: int | None = _option("Rounds of iterative mode partition (3).")
    imp_batches: int | None = _option("Mini-batches that each round scores (8).")
    imp_scope: Literal["global", "layer"] | None = _option("Share reached over all layers or in each (global).")
    imp_schedule: Literal["exponential", "linear"] | None = _option("How the share falls (exponential).")
    imp_static_branch: Literal["drop", "keep"] | None = _option("Static values while scoring (drop).")

    @property
    def variant(self) -> str:
        return "partitioned" if self.use_pad else "fully dynamic" if self.use_moe else "dense"


Arguments = tuple[ModelArguments, DataArguments, PADArguments, TrainingArguments]


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise PADNetError(f"{message}; --help lists the options")


def parse(argv: list[str] | None) -> Arguments:
    """Options of the command line (`sys.argv` for None). Raises PADNetError for any that does not exist or fit."""
    parser = _Parser([ModelArguments, DataArguments, PADArguments, TrainingArguments], allow_abbrev=False)
    parser.set_defaults(**TRAINING_DEFAULTS)
    try:
        *arguments, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    except PADNetError:
        raise
    except (ValueError, ImportError) as error:
        raise PADNetError(f"training options: {' '.join(str(error).split())}") from error
    if unknown:
        raise PADNetError(f"unknown option {unknown[0]!r}; --help lists the options")
    return tuple(arguments)


def experts_options(pad: PADArguments) -> dict:
    """The fields of PADBertConfig that are options, defaults filled in; empty for a dense network."""
    if pad.variant == "dense":
        return {}
    default = PADBertConfig()
    return {name: getattr(default if getattr(pad, name) is None else pad, name) for name in _EXPERTS}


def partition_config(pad: PADArguments, seed: int) -> PartitionConfig | None:
    """The partition asked for, None without --use_pad. Raises PADNetError for values and combinations not allowed."""
    if pad.use_pad and pad.use_moe:
        raise PADNetError(
            "--use_pad and --use_moe exclude each other (the first partitions, the second stays fully dynamic): leave "
            "out one of them"
        )
    given = {option.name for option in fields(pad) if getattr(pad, option.name) is not None}
    idle = set() if pad.use_pad else given.intersection(_IMP_FIELDS)
    if pad.variant == "dense":
        idle |= given.intersection(_EXPERTS)
    for option in sorted(idle):
        remedy = "--use_pad instead of --use_moe" if pad.use_moe else "--use_pad"
        remedy += " or --use_moe" if option in _EXPERTS else ""
        raise PADNetError(f"--{option} {getattr(pad, option)} has no effect on a {pad.variant} network: add {remedy}")
    if not pad.use_pad:
        return None
    chosen = {name: getattr(pad, option) for option, name in _IMP_FIELDS.items() if option in given}
    return PartitionConfig(seed=seed, **chosen)


def partition_options(config: PartitionConfig | None) -> dict:
    """The partition asked for under the names of its options; empty for None."""
    return {} if config is None else {option: getattr(config, name) for option, name in _IMP_FIELDS.items()}
