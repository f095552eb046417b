"""What can be asked of run_glue.py: the options, their defaults and the checks that need no data."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from transformers import TrainingArguments

from padnet_hf import PartitionConfig
from padnet_hf.jobs.command_line import option, parse_options
from padnet_hf.jobs.layer_options import ExpertOptions
from padnet_hf.jobs.lora_options import LoraOptions
from padnet_hf.jobs.networks import experts_options
from padnet_hf.jobs.partition_options import partition_options
from padnet_hf.jobs.run_request import recorded_options as recorded

TRAINING_DEFAULTS = {
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
    "logging_steps": 50,
    "dataloader_pin_memory": torch.accelerator.is_available(),
}
"""Where this script's defaults differ from those of TrainingArguments."""


@dataclass
class ModelArguments:
    """Which model."""

    model_name_or_path: str | None = option("Hub name or folder. Without it: the embedded all-MiniLM-L6-v2.")
    tokenizer_name: str | None = option("Hub name or folder of the tokenizer, if not the model's.")
    model_revision: str = option("Branch, tag or commit of the model on the Hub.", "main")
    cache_dir: str | None = option("Where downloads are kept.")


@dataclass
class DataArguments:
    """Which data. Without any of them: the embedded movie review sentences."""

    task_name: str | None = option("GLUE task: cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb, wnli.")
    data_dir: str | None = option("Local parquet folder of the task, or a folder that holds one named like the task.")
    train_file: str | None = option("Your own training data: .csv, .tsv, .json, .jsonl or .parquet.")
    validation_file: str | None = option("Your own validation data.")
    test_file: str | None = option("Your own data to predict.")
    text_column: str | None = option("Column of the (first) text in your files. Found by itself where it is clear.")
    text_pair_column: str | None = option("Column of the second text in your files; known pairs are found.")
    label_column: str = option("Column of the labels in your files; decimal points mean regression.", "label")
    max_seq_length: int = option("Longer inputs are cut to this many tokens; shorter ones padded per batch.", 128)
    max_train_samples: int | None = option("Use only so many training examples, drawn always alike.")
    max_eval_samples: int | None = option("Use only so many validation examples, drawn always alike.")
    max_predict_samples: int | None = option("Predict only the first so many test examples.")
    overwrite_output_dir: bool = option("Remove an earlier run of this script from --output_dir first.", False)


@dataclass
class PADArguments(ExpertOptions):
    """Which network: dense with neither --use_pad nor --use_moe."""

    use_moe: bool = option("Train a fully dynamic network (mixture of experts).", False)

    dynamic_option: ClassVar[str] = "use_moe"


Arguments = tuple[ModelArguments, DataArguments, LoraOptions, PADArguments, TrainingArguments]


def parse(argv: list[str] | None) -> Arguments:
    """Options of the command line (`sys.argv` for None). Raises PADNetError for any that does not exist or fit."""
    return parse_options(
        (ModelArguments, DataArguments, LoraOptions, PADArguments, TrainingArguments), argv, TRAINING_DEFAULTS
    )


def recorded_options(
    arguments: Arguments, partition: PartitionConfig | None, adapter: dict[str, Any]
) -> dict[str, Any]:
    """Every option that decides the result, by name, defaults filled in."""
    model, data, lora, pad, training = arguments
    source = {name: getattr(model, name) for name in ("model_name_or_path", "model_revision", "tokenizer_name")}
    network = {"use_pad": pad.use_pad, "use_moe": pad.use_moe} | experts_options(pad) | partition_options(partition)
    return recorded(asdict(data), source, network | {"lora": lora.lora} | adapter, training)
