"""The end of a job: its model card, and the Hub if asked."""

from collections.abc import Mapping

from huggingface_hub import EvalResult

from padnet_hf.jobs.columns import Columns
from padnet_hf.jobs.refusals import as_one_error
from padnet_hf.training.trainer import PADTrainer


def share(
    trainer: PADTrainer,
    measured: Mapping[str, float],
    *,
    task: str,
    data: tuple[str, str],
    split: str,
    columns: Columns | None = None,
) -> None:
    """Write README.md with the results, and push everything if --push_to_hub was given.

    Args:
        measured: metric -> value.
        task: as the Hub names it, "text-classification" for instance.
        data: the data set's name on the Hub, or what else identifies it, and its name for people.
        split: of the data that was measured on.
        columns: of the data, which were read; None where it has none.

    Raises PADNetError if the Hub cannot be reached any more; the run lies in its folder then.
    """
    trainer.card_results = [
        EvalResult(task, data[0], data[1], metric.replace(" ", "_"), round(value, 4), dataset_split=split)
        for metric, value in measured.items()
    ]
    trainer.card_data = f"Columns read: {columns}." if columns else ""
    if trainer.args.push_to_hub:
        folder = trainer.args.output_dir
        remedy = f"push it with padnet push {folder} {trainer.hub_model_id}"
        with as_one_error(f"the run is saved in {folder}, but was not pushed", remedy):
            trainer.push_to_hub()
    else:
        trainer.create_model_card()
