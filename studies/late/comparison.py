"""All ways on one trained network, row by row."""

import copy
import gc
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel, set_seed

from studies.cell.code_version import code_version
from studies.late.measures import Data, data_of, measured, recover
from studies.late.networks import Case, trained
from studies.late.rows import Row, append, read
from studies.late.statistics import gathered
from studies.late.ways import Way, ways

logger = logging.getLogger(__name__)

SOURCES = (
    *("padnet_hf/method", "padnet_hf/layers", "padnet_hf/models", "examples/glue", "examples/language_modeling"),
    *("studies/cell", "studies/late"),
)
RECOVERY_STEPS, _RECOVERY_RATE = 100, 3e-4
"""Of language models. The rate is below the 1e-3 at which they were trained on."""


def version() -> str:
    """Of the code that makes rows."""
    return code_version(sources=SOURCES)


def compare(case: Case, work: Path, data_dir: Path | None, ratios: Sequence[float], results: Path) -> None:
    """Add the rows that are not there yet. The networks are trained first, if need be."""
    folders, code = trained(case, work, data_dir), version()
    steps = RECOVERY_STEPS if case.is_language else 0
    data = data_of(case, folders["fully dynamic"], data_dir, steps)
    models = {name: _load(case, folder) for name, folder in folders.items()}
    done, found = read(results), gathered(models["fully dynamic"], data.calibration)
    for way in (Way("fully dynamic", 1.0, _unchanged), Way("dense", 0.0, _unchanged), *ways(ratios)):
        after = (0, steps) if steps and way.can_recover else (0,)
        missing = [of for of in after if (case.task, case.seed, way.name, way.ratio, of, code) not in done]
        if missing:
            model = copy.deepcopy(models.get(way.name, models["fully dynamic"]))
            set_seed(case.seed)
            num_bytes = way.change(model, data.calibration, found)
            for of, values in _measured(case, model, data, missing):
                append(
                    results, Row(case.task, case.seed, way.name, way.ratio, of, **values, bytes=num_bytes, code=code)
                )
            gc.collect()  # hooks of a model hold it in circles


def _measured(
    case: Case, model: PreTrainedModel, data: Data, after: Sequence[int]
) -> Iterator[tuple[int, dict[str, float]]]:
    for steps in after:
        if steps:
            recover(model, data.recovery, _RECOVERY_RATE)
        values = measured(model, data.validation, case.task)
        logger.info("%s: %s", f"{case.task} {case.seed}, {steps} steps", values)
        yield steps, values


def _load(case: Case, folder: Path) -> PreTrainedModel:
    kind = AutoModelForCausalLM if case.is_language else AutoModelForSequenceClassification
    return kind.from_pretrained(folder)


def _unchanged(model: PreTrainedModel, *_: object) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())
