"""A run from its start to its last measurement, the same in every script."""

from collections.abc import Callable, Mapping
from typing import Any

from padnet_hf.jobs.adapting import adapt
from padnet_hf.jobs.columns import Columns
from padnet_hf.jobs.trainer_steps import start_run, train
from padnet_hf.training.trainer import PADTrainer

Measure = Callable[[], dict[str, float]]


def run_steps(
    trainer: PADTrainer,
    options: Mapping[str, Any],
    *,
    making: bool,
    checkpoint: str | None,
    columns: Columns | None = None,
    adapter: Mapping[str, Any] | None = None,
    source: str | None = None,
    evaluate: Measure | None = None,
    predict: Measure | None = None,
) -> dict[str, float]:
    """Train, or only save, evaluate and predict, as the Trainer's options say. Returns all metrics.

    Args:
        options: what run_config.json records.
        making: whether a model will be written.
        checkpoint: the one to resume.
        columns: of the data, which were read.
        adapter: as `adapter_options` gives it; empty for none.
        source: where the model lies just as it is; None if the run made it.
        evaluate, predict: what the script measures and writes.
    """
    training = trainer.args
    metrics: dict[str, float] = {}
    if making:
        start_run(trainer, options, resuming=checkpoint is not None, columns=columns)
    if adapter:
        adapt(trainer, adapter, checkpoint, source)
    if training.do_train:
        metrics |= train(trainer, checkpoint)
    elif making:
        trainer.save_model()
    if training.do_eval and evaluate is not None:
        metrics |= evaluate()
    if training.do_predict and predict is not None:
        metrics |= predict()
    return metrics
