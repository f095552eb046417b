"""Fine-tune a dense, fully dynamic or partitioned BERT on GLUE, on your own files, or on the embedded reviews.

    python examples/glue/run_glue.py --use_pad --dynamic_ratio 0.5 --do_train --do_eval --output_dir runs/glue

With --use_moe the network stays fully dynamic; with neither option it is dense. README.md beside this file has more.
"""

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import set_seed
from transformers.utils import is_matplotlib_available

import padnet_hf
from closing import closing_rows, print_closing
from glue_arguments import Arguments, DataArguments, parse, partition_config
from glue_data import TextData, load_text_data, wanted_splits
from glue_metric import MEASURES
from glue_model import (
    build_model,
    check_length,
    check_model,
    label_fields,
    load_config,
    load_tokenizer,
    model_source,
    variant_of,
)
from glue_trainer import Job, build_trainer, evaluate, predict, train
from output_folder import (
    remove_earlier_run,
    write_json,
    write_run_config,
)
from padnet_hf import PADNetError, PartitionConfig
from run_request import check_run, makes_model, recorded_options, roles_of
from tokenised import tokenise

logger = logging.getLogger("run_glue")


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Do what the options say (`sys.argv` for None) and return the metrics.

    Raises PADNetError for any mistake in them, before anything slow is done or anything is written.
    """
    arguments = parse(argv)
    *_, pad, training = arguments
    partition = partition_config(pad, training.seed)
    options = recorded_options(arguments, partition)
    checkpoint = check_run(arguments, options)
    job = prepare(arguments, partition, checkpoint)
    metrics: dict[str, float] = {}
    if makes_model(arguments):
        start(job, options, resuming=checkpoint is not None)
    if training.do_train:
        metrics |= train(job, checkpoint)
    elif makes_model(arguments):
        job.trainer.save_model()
    if training.do_eval:
        metrics |= evaluate(job)
    if training.do_predict:
        metrics |= predict(job)
    if job.trainer.is_world_process_zero():
        close(job, metrics, job.folder if makes_model(arguments) else job.source)
    return metrics


def prepare(arguments: Arguments, partition: PartitionConfig | None, checkpoint: str | None) -> Job:
    """Data, tokenizer, model and trainer; with `partition` the model is partitioned when this returns."""
    model_arguments, data_arguments, pad, training = arguments
    roles = roles_of(training)
    if partition is not None and "train" not in roles:
        roles = ["train", *roles]  # to calibrate on
    data = load_text_data(data_arguments, roles, model_arguments.cache_dir)
    source = model_source(model_arguments, checkpoint)
    config = load_config(source, model_arguments)
    check_model(config, source, pad, resuming=checkpoint is not None)
    fields = label_fields(data, config, training=training.do_train)
    if "label2id" not in fields and not data.is_regression:
        data = replace(data, metric="regression")  # without training data only the model knows
    tokenizer = load_tokenizer(source, model_arguments)
    check_length(config, tokenizer, data_arguments)
    limits = sample_limits(data, data_arguments)
    sets = {
        split: tokenise(data.splits[split], tokenizer, fields, data_arguments.max_seq_length, limits[split])
        for split in wanted_splits(data, roles)
    }
    logger.info("%s: %s", data.name, ", ".join(f"{len(rows):,} {split}" for split, rows in sets.items()))
    set_seed(training.seed)
    model = build_model(source, config, model_arguments, pad, fields)
    names = tuple(fields.get("id2label", {}).values())
    trainer = build_trainer(training, model, tokenizer, sets, data, names, partition)
    return Job(trainer, data, sets, names, source)


def sample_limits(data: TextData, arguments: DataArguments) -> dict[str, int | None]:
    """How many examples to take of every split."""
    return {
        "train": arguments.max_train_samples,
        **dict.fromkeys(data.eval_splits, arguments.max_eval_samples),
        **dict.fromkeys(data.test_splits, arguments.max_predict_samples),
    }


def start(job: Job, options: dict[str, Any], *, resuming: bool) -> None:
    """Make the output folder ours: what was asked for, and the report and picture of the partition."""
    if job.trainer.is_world_process_zero():
        if not resuming:
            remove_earlier_run(job.folder)
        write_run_config(job.folder, options, padnet_hf.__version__)
        report_partition(job)
    job.trainer.accelerator.wait_for_everyone()


def report_partition(job: Job) -> None:
    """Write partition_report.json, and partition.png where something is static; a dense model has neither."""
    variant = variant_of(job.trainer.model.config)
    if variant == "dense":
        return
    report = job.trainer.model.partition_report()
    logger.info("%s", report)
    write_json(Path(job.folder, "partition_report.json"), report.to_dict())
    if variant == "partitioned" and is_matplotlib_available():
        report.plot(Path(job.folder, "partition.png"))
    elif variant == "partitioned":
        logger.warning("no partition.png: drawing needs matplotlib (pip install 'padnet_hf[plots]')")


def close(job: Job, metrics: dict[str, float], folder: str) -> None:
    """Print the table of the three networks and how to load this one from `folder`."""
    names = MEASURES[job.data.metric]
    measured = {
        label + name: metrics[prefix + name]
        for label, prefix in (("", "eval_"), ("mismatched ", "eval_mm_"))
        for name in names
        if prefix + name in metrics
    }
    print_closing(closing_rows(job.trainer.model, folder, measured), folder)


def run() -> None:
    """The command: `main`, with every mistake of the user as one line on stderr and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        main()
    except PADNetError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
