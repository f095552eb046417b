"""Train a static, fully dynamic or partitioned ResNet, MobileNetV2 or ViT on images: from the Hub, your own, or digits.

    python examples/vision/run_image_classification.py --use_pad --do_train --do_eval --output_dir runs/vision

With --use_dynamic the network stays fully dynamic; with neither option it is static. More: README.md beside this file.
"""

import logging
from dataclasses import asdict
from functools import partial
from typing import Any

from transformers import BaseImageProcessor, PreTrainedConfig, set_seed

from augmentation import Augmentation
from image_split import ImageData, ImageSplit
from padnet_hf import PADNetError, PartitionConfig
from padnet_hf.jobs.closing import closing_rows, print_closing
from padnet_hf.jobs.command_line import run_command
from padnet_hf.jobs.labels import described
from padnet_hf.jobs.late_partition import Before, run_in_order
from padnet_hf.jobs.partition_options import makes_model
from padnet_hf.jobs.run_request import check_run, roles_of
from padnet_hf.jobs.run_steps import run_steps
from padnet_hf.jobs.sharing import share
from pixels import UNREADABLE, PixelSet, new_processor, side_of
from vision_arguments import Arguments, asked_partition, parse, recorded_options, temperature_options
from vision_data import SPLIT_OF_ROLE, load_image_data
from vision_model import (
    build_model,
    check_model,
    label_fields,
    load_config,
    load_processor,
    match_labels,
    new_config,
    size_report,
    variant_of,
)
from vision_trainer import Job, build_trainer, evaluate, predict

logger = logging.getLogger("run_image_classification")

LARGEST_SIDE = 224


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Do what the options say (`sys.argv` for None) and return the metrics.

    Raises PADNetError for any mistake in them, before anything is trained or written.
    """
    return run_in_order(run, parse(argv), lambda arguments: asked_of(arguments)[1])


def asked_of(arguments: Arguments) -> tuple[PartitionConfig | None, dict[str, Any]]:
    """The partition that is asked for, and what run_config.json records."""
    model, _, pad, training = arguments
    partition = asked_partition(model, pad, training.seed)
    return partition, recorded_options(arguments, partition)


def run(arguments: Arguments, before: Before | None = None) -> dict[str, float]:
    """One run, and its table; `before` is the trained network that is now partitioned."""
    partition, options = asked_of(arguments)
    _, data, pad, training = arguments
    making = makes_model(pad, training)
    checkpoint = check_run(training, asdict(data), options, making=making, overwrite=data.overwrite_output_dir)
    job = prepare(arguments, partition, checkpoint, is_late=before is not None)
    metrics = run_steps(
        job.trainer,
        options,
        making=making,
        checkpoint=checkpoint,
        columns=job.columns,
        evaluate=partial(evaluate, job),
        predict=partial(predict, job),
    )
    measured = measures(metrics)
    before = before and before._replace(metrics=measures(before.metrics))
    if making:
        task, data = "image-classification", (job.name, job.name)
        share(job.trainer, measured, task=task, data=data, split="validation", columns=job.columns)
    if job.trainer.is_world_process_zero():
        close(job, measured, job.folder if making else job.source, before)
    return metrics


def measures(metrics: dict[str, float]) -> dict[str, float]:
    """What was measured on the validation images, by name."""
    return {"accuracy": metrics["eval_accuracy"]} if "eval_accuracy" in metrics else {}


def prepare(
    arguments: Arguments, partition: PartitionConfig | None, checkpoint: str | None, *, is_late: bool = False
) -> Job:
    """Images, model and trainer; with `partition` the model is partitioned when this returns.

    After a late partition (`is_late`) the temperature stays where the training has brought it.
    """
    model_arguments, data_arguments, pad, training = arguments
    roles = roles_of(training)
    if partition is not None and "train" not in roles:
        roles = ["train", *roles]  # to calibrate on
    data = load_image_data(data_arguments, roles, model_arguments.cache_dir)
    source = checkpoint or model_arguments.model_name_or_path
    if source is None:
        processor = new_processor(model_arguments.image_size or shorter_side(data.splits["train"]))
        fields = label_fields(data, None, training=True)
        config = new_config(model_arguments, pad, side_of(processor), fields)
    else:
        config = load_config(source, model_arguments)
        check_model(config, source, pad, resuming=checkpoint is not None)
        data = data if training.do_train else match_labels(data, config)
        fields = label_fields(data, config, training=training.do_train)
        processor = load_processor(source, model_arguments, config)
    sets = read_images(data, [SPLIT_OF_ROLE[role] for role in roles], arguments, processor, config, fields)
    names = tuple(fields["id2label"].values())
    columns = next(iter(sets.values())).split.columns
    logger.info("%s%s", f"columns: {columns}; " if columns else "", described(names))
    if source is None:
        processor.image_mean, processor.image_std = sets["train"].statistics()
    set_seed(training.seed)
    model = build_model(source, config, model_arguments, pad, fields)
    flip = data_arguments.horizontal_flip
    augmentation = Augmentation(
        model.config.num_labels,
        padding=data_arguments.crop_padding,
        flip=data.flips if flip is None else flip,
        mixup_alpha=data_arguments.mixup_alpha,
        label_smoothing=training.label_smoothing_factor,
    )
    temperature = None if is_late else temperature_options(pad)
    trainer = build_trainer(training, model, processor, sets, augmentation, partition, temperature)
    return Job(trainer, data.name, sets, names, source)


def shorter_side(split: ImageSplit) -> int:
    """Of the first image that can be read, but at most 224: what a new network's images are resized to."""
    for index in range(len(split)):
        try:
            with split.open(index) as image:
                return min(*image.size, LARGEST_SIDE)
        except UNREADABLE:
            continue
    raise PADNetError(f"{split.source} holds no image that can be read: replace its files")


def read_images(
    data: ImageData,
    names: list[str],
    arguments: Arguments,
    processor: BaseImageProcessor,
    config: PreTrainedConfig,
    fields: dict[str, Any],
) -> dict[str, PixelSet]:
    """The splits of these names, every image checked."""
    _, options, _, training = arguments
    sets = {
        name: PixelSet(
            data.splits[name],
            processor,
            config.num_channels,
            fields["label2id"],
            convert=options.convert_channels,
            skip_unreadable=options.skip_unreadable,
            progress=training.process_index == 0 and not training.disable_tqdm,
        )
        for name in names
    }
    side = side_of(processor)
    logger.info(
        "%s: %s, each %d x %d",
        data.name,
        ", ".join(f"{len(images):,} {name}" for name, images in sets.items()),
        side,
        side,
    )
    return sets


def close(job: Job, measured: dict[str, float], folder: str, before: Before | None) -> None:
    """Print the table of the three networks and how to load this one from `folder`."""
    model, side = job.trainer.model, side_of(job.trainer.processing_class)
    report = size_report(model, side)
    rows = closing_rows(model, variant_of(model.config), report, folder, measured, plain="static", before=before)
    counted = "dynamic convolutions" if report.work_per == "image" else "feed-forward layers"
    print_closing(rows, folder, auto_class="AutoModelForImageClassification", per=report.work_per, counted=counted)


if __name__ == "__main__":
    run_command(main)
