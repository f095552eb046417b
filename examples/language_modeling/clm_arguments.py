"""What can be asked of run_clm.py: the options, their defaults and the checks that need no data."""

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from transformers import TrainingArguments

from padnet_hf import PADNetError, PartitionConfig
from padnet_hf.jobs.command_line import option, parse_options
from padnet_hf.jobs.layer_options import ExpertOptions
from padnet_hf.jobs.lora_options import LoraOptions
from padnet_hf.jobs.networks import experts_options
from padnet_hf.jobs.partition_options import partition_config, partition_options
from padnet_hf.jobs.run_request import recorded_options as recorded
from padnet_hf.method.config import StaticValues

TRAINING_DEFAULTS = {
    "logging_steps": 50,
    "dataloader_pin_memory": torch.accelerator.is_available(),
}
"""Where this script's defaults differ from those of TrainingArguments."""

MEASURES = ("perplexity", "bits_per_byte")
"""What is measured on held-out text, beside the loss; all are the better, the smaller they are."""

SHORTEST_BLOCK = 2
_SOURCES = ("model_name_or_path", "model_type", "config_name")


@dataclass
class ModelArguments:
    """Which model: a checkpoint, or a new one of the shape given."""

    model_name_or_path: str | None = option("Hub name or folder of a language model, dense or PAD.")
    model_type: str | None = option("Type of a new model to train from scratch: llama, mistral, qwen2, qwen3, ...")
    config_name: str | None = option("Hub name or folder of the configuration of a new model.")
    config_overrides: str | None = option('Fields of the new model, as "hidden_size=256,num_hidden_layers=4".')
    tokenizer_name: str | None = option("Hub name or folder of the tokenizer, if not the model's own.")
    model_revision: str = option("Branch, tag or commit of the model on the Hub.", "main")
    cache_dir: str | None = option("Where downloads are kept.")


@dataclass
class DataArguments:
    """Which text, and how it is cut."""

    dataset_name: str | None = option("Data set on the Hub.")
    dataset_config_name: str | None = option("Configuration of the data set on the Hub.")
    train_file: str | None = option("Your own text: plain, or a .jsonl, .json, .parquet, .csv or .tsv table.")
    validation_file: str | None = option("Your own held-out text.")
    text_column: str | None = option("Column of the text. Found by itself where it is clear.")
    messages_column: str | None = option("Column of chats, lists of role and content, for the tokenizer's template.")
    block_size: int | None = option("Tokens of a block (1024, or all that the model takes).")
    validation_split_percentage: float = option("Per cent of the text to hold out where no other is given.", 5.0)
    streaming: bool = option("Read the training text while training, for what memory does not hold.", False)
    shuffle_buffer: int | None = option("Blocks among which --streaming draws the next one (1000).")
    max_train_samples: int | None = option("Use only so many training blocks, drawn always alike.")
    max_eval_samples: int | None = option("Use only so many held-out blocks (streaming: the first).")
    overwrite_output_dir: bool = option("Remove an earlier run of a script from --output_dir first.", False)


@dataclass
class PADArguments(ExpertOptions):
    """Which network: dense with neither --use_pad nor --use_moe."""

    use_moe: bool = option("Train a fully dynamic network (mixture of experts).", False)
    imp_scope: Literal["global", "layer"] | None = option("Share reached over all layers or in each (layer).")
    imp_static_values: StaticValues | None = option(
        "What static values begin with: the mean of the copies, the same weighted by squared gradients (fisher) or by "
        "how much each was used (usage), or the first of them (mean; fisher where copies differ; fresh if it is new). "
        "none: units that a copy does not keep are left out of it."
    )

    dynamic_option: ClassVar[str] = "use_moe"
    # stock architectures have experts of the same size in all layers
    partition_defaults: ClassVar[dict[str, Any]] = {"scope": "layer"}


Arguments = tuple[ModelArguments, DataArguments, LoraOptions, PADArguments, TrainingArguments]


def parse(argv: list[str] | None) -> Arguments:
    """Options of the command line (`sys.argv` for None). Raises PADNetError for any that does not exist or fit."""
    arguments = parse_options(
        (ModelArguments, DataArguments, LoraOptions, PADArguments, TrainingArguments), argv, TRAINING_DEFAULTS
    )
    model, data, _, _, training = arguments
    if training.do_predict:
        raise PADNetError("--do_predict has no effect on a language model: leave it out, and write text with generate")
    if (training.metric_for_best_model or "").removeprefix("eval_") in MEASURES:
        training.greater_is_better = False  # the Trainer takes whatever is no loss for the better, the greater it is
    _check_model(model, training)
    _check_text(data)
    _check_numbers(data)
    _check_streaming(data, training)
    return arguments


def _check_model(model: ModelArguments, training: TrainingArguments) -> None:
    given = [name for name in _SOURCES if getattr(model, name)]
    if len(given) != 1:
        found = "none of them is given" if not given else f"given are --{' and --'.join(given)}"
        raise PADNetError(f"a model is one of --{', --'.join(_SOURCES)}, but {found}: give exactly one")
    if model.model_name_or_path:
        if model.config_overrides:
            raise PADNetError(
                f"--config_overrides {model.config_overrides} is for a new network, but --model_name_or_path "
                f"{model.model_name_or_path} has its shape already: leave one of them out"
            )
        return
    if not model.tokenizer_name:
        raise PADNetError(f"a new model (--{given[0]}) brings no tokenizer: add --tokenizer_name")
    if not training.do_train:
        raise PADNetError(
            "a new model that is not trained knows nothing: add --do_train, or give a trained one with "
            "--model_name_or_path"
        )


def _check_text(data: DataArguments) -> None:
    file = data.train_file or data.validation_file
    if not (data.dataset_name or file):
        raise PADNetError("there is no text: add --train_file, or --dataset_name for one on the Hub")
    for first, second in (("dataset_name", "train_file"), ("text_column", "messages_column")):
        if getattr(data, first) and getattr(data, second):
            raise PADNetError(
                f"--{first} {getattr(data, first)} and --{second} {getattr(data, second)} exclude each other: leave "
                "one of them out"
            )
    if data.dataset_config_name and not data.dataset_name:
        raise PADNetError(f"--dataset_config_name {data.dataset_config_name} needs --dataset_name: add it")


def _check_numbers(data: DataArguments) -> None:
    for name, value, fits, allowed in (
        ("block_size", data.block_size, lambda size: size >= SHORTEST_BLOCK, f"at least {SHORTEST_BLOCK}"),
        ("shuffle_buffer", data.shuffle_buffer, lambda size: size >= 1, "at least 1"),
        ("validation_split_percentage", data.validation_split_percentage, lambda share: 0 <= share < 100, "0 to < 100"),
    ):
        if value is not None and not fits(value):
            raise PADNetError(f"--{name} is {value}, but must be {allowed}: give such a number, or leave it out")


def _check_streaming(data: DataArguments, training: TrainingArguments) -> None:
    if not data.streaming:
        if data.shuffle_buffer is not None:
            raise PADNetError(f"--shuffle_buffer {data.shuffle_buffer} has no effect: add --streaming")
        return
    if training.do_train and training.max_steps < 1:
        raise PADNetError("--streaming does not know how long an epoch is: add --max_steps")
    if data.max_train_samples is not None:
        raise PADNetError(
            f"--max_train_samples {data.max_train_samples} draws from all of the text, which --streaming never has "
            "together: leave one of them out, or choose --max_steps"
        )
    if training.do_eval and data.dataset_name and data.max_eval_samples is None:
        raise PADNetError("--streaming would read the whole data set to measure on it: add --max_eval_samples")


def asked_partition(model: ModelArguments, pad: PADArguments, seed: int) -> PartitionConfig | None:
    """The partition asked for, None without --use_pad; of a new model the mean of copies would be too small a draw."""
    partition = partition_config(pad, seed)
    if partition is None or model.model_name_or_path:
        return partition
    return replace(partition, criterion=partition.criterion or "snip", static_values=pad.imp_static_values or "fresh")


def recorded_options(
    arguments: Arguments, partition: PartitionConfig | None, adapter: dict[str, Any]
) -> dict[str, Any]:
    """Every option that decides the result, by name, defaults filled in."""
    model, data, lora, pad, training = arguments
    source = {name: value for name, value in asdict(model).items() if name != "cache_dir"}
    network = {"use_pad": pad.use_pad, "use_moe": pad.use_moe} | experts_options(pad) | partition_options(partition)
    held_out = {"validation_split_percentage": held_out_percentage(data)}
    return recorded(asdict(data) | held_out, source, network | {"lora": lora.lora} | adapter, training)


def held_out_percentage(data: DataArguments) -> float:
    """Per cent of the training text that is not trained on, where the data set has no held-out text of its own."""
    return 0.0 if data.validation_file else data.validation_split_percentage
