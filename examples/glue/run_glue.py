"""Fine-tune a dense, fully dynamic or partitioned BERT on GLUE, on your own files, or on the embedded reviews.

    python examples/glue/run_glue.py --use_pad --dynamic_ratio 0.5 --do_train --do_eval --output_dir runs/glue

With --use_moe the network stays fully dynamic; with neither option it is dense. With --lora only an adapter on top of
it is trained. README.md beside this file has more.
"""

import logging
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import pandas as pd
from transformers import set_seed

from glue_arguments import Arguments, DataArguments, parse, recorded_options
from glue_data import TextData, load_text_data, wanted_splits
from glue_metric import MEASURES
from glue_model import (
    AUTO_CLASS,
    build_model,
    check_ids,
    check_length,
    check_model,
    is_same,
    label_fields,
    load_config,
    load_tokenizer,
    match_labels,
    model_source,
)
from glue_trainer import Job, build_trainer, evaluate, predict
from padnet_hf import PartitionConfig
from padnet_hf.jobs.adapting import make_config
from padnet_hf.jobs.closing import close
from padnet_hf.jobs.command_line import run_command
from padnet_hf.jobs.labels import described
from padnet_hf.jobs.late_partition import Before, run_in_order
from padnet_hf.jobs.lora_options import adapter_options
from padnet_hf.jobs.networks import check_adapter
from padnet_hf.jobs.padding import agree_on_padding
from padnet_hf.jobs.partition_options import makes_model, partition_config
from padnet_hf.jobs.run_request import check_run, roles_of
from padnet_hf.jobs.run_steps import run_steps
from padnet_hf.jobs.sharing import share
from tokenised import tokenise

logger = logging.getLogger("run_glue")


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Do what the options say (`sys.argv` for None) and return the metrics.

    Raises PADNetError for any mistake in them, before anything slow is done or anything is written.
    """
    return run_in_order(run, parse(argv), lambda arguments: asked_of(arguments)[2])


def asked_of(arguments: Arguments) -> tuple[PartitionConfig | None, dict[str, Any], dict[str, Any]]:
    """The partition and the adapter that are asked for, and what run_config.json records."""
    *_, lora, pad, training = arguments
    partition = partition_config(pad, training.seed)
    adapter = adapter_options(lora, partition, training)
    return partition, adapter, recorded_options(arguments, partition, adapter)


def run(arguments: Arguments, before: Before | None = None) -> dict[str, float]:
    """One run, and its table; `before` is the trained network that is now partitioned."""
    partition, adapter, options = asked_of(arguments)
    *_, pad, training = arguments
    overwrite, making = arguments[1].overwrite_output_dir, makes_model(pad, training)
    checkpoint = check_run(training, asdict(arguments[1]), options, making=making, overwrite=overwrite)
    job = prepare(arguments, partition, checkpoint, adapter)
    metrics = run_steps(
        job.trainer,
        options,
        making=making,
        checkpoint=checkpoint,
        columns=job.data.columns,
        adapter=adapter,
        source=job.source if job.is_as_loaded else None,
        evaluate=partial(evaluate, job),
        predict=partial(predict, job),
    )
    measured = task_measures(job, metrics)
    before = before and before._replace(metrics=task_measures(job, before.metrics))
    if making:
        task, data, columns = "text-classification", job.data.hub_name, job.data.columns
        share(job.trainer, measured, task=task, data=data, split="validation", columns=columns)
    if job.trainer.is_world_process_zero():
        close(job.trainer.model, measured, job.folder if making else job.source, AUTO_CLASS, before)
    return metrics


def prepare(
    arguments: Arguments,
    partition: PartitionConfig | None,
    checkpoint: str | None,
    adapter: dict[str, Any] | None = None,
) -> Job:
    """Data, tokenizer, model and trainer; with `partition` the model is partitioned when this returns.

    Raises PADNetError if `adapter` does not suit the model.
    """
    model_arguments, data_arguments, _, pad, training = arguments
    roles = roles_of(training)
    if partition is not None and "train" not in roles:
        roles = ["train", *roles]  # to calibrate on
    data = load_text_data(data_arguments, roles, model_arguments.cache_dir)
    source = model_source(model_arguments, checkpoint)
    config = load_config(source, model_arguments)
    check_model(config, source, pad, resuming=checkpoint is not None)
    check_adapter(source, making=makes_model(pad, training))
    if not training.do_train:
        data = match_labels(data, config)
    fields = label_fields(data, config, training=training.do_train)
    if "label2id" not in fields and not data.is_regression:
        data = replace(data, metric="regression")  # without training data only the model knows
    tokenizer = load_tokenizer(source, model_arguments)
    fields |= agree_on_padding(tokenizer, config)
    check_length(config, tokenizer, data_arguments)
    sets = {
        split: tokenise(limited(data, split, data_arguments), tokenizer, fields, data_arguments.max_seq_length)
        for split in wanted_splits(data, roles)
    }
    check_ids(config, sets)
    logger.info("%s: %s", data.name, ", ".join(f"{len(rows):,} {split}" for split, rows in sets.items()))
    names = tuple(fields.get("id2label", {}).values())
    logger.info("columns: %s; %s", data.columns, described(names))
    set_seed(training.seed)
    model = build_model(source, config, model_arguments, pad, fields)
    if adapter:
        make_config(model, adapter)  # a mistake in it shows before the partition
    trainer = build_trainer(training, model, tokenizer, sets, data, names, partition)
    if adapter:
        make_config(model, adapter)
    return Job(trainer, data, sets, names, source, is_as_loaded=is_same(config, model.config))


def limited(data: TextData, split: str, arguments: DataArguments) -> pd.DataFrame:
    """The rows of a split that the options leave; for a part of them, always the same ones.

    Tasks are often sorted by source, so what trains or measures is drawn at random. Of what is to be predicted it is
    the first rows: the answers are numbered.
    """
    rows = data.splits[split]
    if split in data.test_splits:
        return rows if arguments.max_predict_samples is None else rows.head(arguments.max_predict_samples)
    size = arguments.max_train_samples if split == "train" else arguments.max_eval_samples
    return rows if size is None or size >= len(rows) else rows.sample(size, random_state=0)


def task_measures(job: Job, metrics: dict[str, float]) -> dict[str, float]:
    """The task's own measures on the validation data, by name."""
    return {
        label + name: metrics[prefix + name]
        for label, prefix in (("", "eval_"), ("mismatched ", "eval_mm_"))
        for name in MEASURES[job.data.metric]
        if prefix + name in metrics
    }


if __name__ == "__main__":
    run_command(main)
