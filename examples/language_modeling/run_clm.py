"""Train a dense, fully dynamic or partitioned language model, from a checkpoint or from scratch, on text of any source.

    python examples/language_modeling/run_clm.py --model_name_or_path FOLDER --train_file text.txt --use_pad \
        --granularity unit --do_train --do_eval --output_dir runs/clm

With --use_moe the network stays fully dynamic; with neither option it is dense. With --lora only an adapter on top of
it is trained. README.md beside this file has more.
"""

import logging
from dataclasses import asdict
from functools import partial
from typing import Any

from transformers import set_seed

from clm_arguments import MEASURES, Arguments, asked_partition, parse, recorded_options
from clm_data import load_corpus, read_blocks, stream_blocks
from clm_model import (
    AUTO_CLASS,
    block_length,
    build_model,
    check_model,
    check_words,
    load_config,
    load_tokenizer,
    model_source,
    new_config,
)
from clm_trainer import Job, build_trainer, evaluate
from padnet_hf import PartitionConfig
from padnet_hf.jobs.adapting import make_config
from padnet_hf.jobs.closing import close
from padnet_hf.jobs.command_line import run_command
from padnet_hf.jobs.late_partition import Before, run_in_order
from padnet_hf.jobs.lora_options import adapter_options
from padnet_hf.jobs.networks import check_adapter, variant_of
from padnet_hf.jobs.partition_options import makes_model
from padnet_hf.jobs.run_request import check_run, roles_of
from padnet_hf.jobs.run_steps import run_steps
from padnet_hf.jobs.sharing import share

logger = logging.getLogger("run_clm")


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Do what the options say (`sys.argv` for None) and return the metrics.

    Raises PADNetError for any mistake in them, before anything slow is done or anything is written.
    """
    return run_in_order(run, parse(argv), lambda arguments: asked_of(arguments)[2])


def asked_of(arguments: Arguments) -> tuple[PartitionConfig | None, dict[str, Any], dict[str, Any]]:
    """The partition and the adapter that are asked for, and what run_config.json records."""
    model, _, lora, pad, training = arguments
    partition = asked_partition(model, pad, training.seed)
    adapter = adapter_options(lora, partition, training)
    return partition, adapter, recorded_options(arguments, partition, adapter)


def run(arguments: Arguments, before: Before | None = None) -> dict[str, float]:
    """One run, and its table; `before` is the trained network that is now partitioned."""
    partition, adapter, options = asked_of(arguments)
    _, data, _, pad, training = arguments
    making = makes_model(pad, training)
    checkpoint = check_run(training, asdict(data), options, making=making, overwrite=data.overwrite_output_dir)
    job = prepare(arguments, partition, checkpoint, adapter)
    metrics = run_steps(
        job.trainer,
        options,
        making=making,
        checkpoint=checkpoint,
        columns=job.columns,
        adapter=adapter,
        source=job.source if job.is_as_loaded else None,
        evaluate=partial(evaluate, job),
    )
    measured = measures(metrics)
    before = before and before._replace(metrics=measures(before.metrics))
    if making:
        task, names = "text-generation", (job.name, job.name)
        share(job.trainer, measured, task=task, data=names, split="validation", columns=job.columns)
    if job.trainer.is_world_process_zero():
        close(job.trainer.model, measured, job.folder if making else job.source, AUTO_CLASS, before)
    return metrics


def measures(metrics: dict[str, float]) -> dict[str, float]:
    """What was measured on the held-out text, by name."""
    return {name.replace("_", " "): metrics[f"eval_{name}"] for name in MEASURES if f"eval_{name}" in metrics}


def prepare(
    arguments: Arguments,
    partition: PartitionConfig | None,
    checkpoint: str | None,
    adapter: dict[str, Any] | None = None,
) -> Job:
    """Tokenizer, text, model and trainer; with `partition` the model is partitioned when this returns.

    Raises PADNetError if `adapter` does not suit the model.
    """
    model_arguments, data, _, pad, training = arguments
    source = model_source(model_arguments, checkpoint)
    tokenizer = load_tokenizer(source, model_arguments)
    if source is None:
        config = new_config(model_arguments, pad, tokenizer)
    else:
        config = load_config(source, model_arguments)
        check_model(config, source, pad, resuming=checkpoint is not None)
        check_adapter(source, making=makes_model(pad, training))
    check_words(config, tokenizer)
    length = block_length(config, data.block_size)
    splits = [{"train": "train", "eval": "validation"}[role] for role in roles_of(training)]
    if partition is not None and "train" not in splits:
        splits = ["train", *splits]  # to calibrate on
    corpus = load_corpus(data, tokenizer, splits, model_arguments.cache_dir)
    sets = {
        split: stream_blocks(corpus, tokenizer, data, length, training.seed)
        if data.streaming and split == "train"
        else read_blocks(corpus, split, tokenizer, data, length)
        for split in splits
    }
    counts = ", ".join(f"{len(blocks):,} {split}" for split, blocks in sets.items() if hasattr(blocks, "__len__"))
    logger.info("%s: blocks of %d tokens, %s", corpus.name, length, counts or "streamed")
    if corpus.columns:
        logger.info("columns: %s", corpus.columns)
    set_seed(training.seed)
    model = build_model(source, config, model_arguments, pad)
    if adapter:
        make_config(model, adapter)  # a mistake in it shows before the partition
    trainer = build_trainer(training, model, tokenizer, sets, partition)
    if adapter:
        make_config(model, adapter)
    is_as_loaded = source is not None and variant_of(config) == variant_of(model.config)
    return Job(trainer, corpus.name, corpus.columns, source, is_as_loaded)


if __name__ == "__main__":
    run_command(main)
