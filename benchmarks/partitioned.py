"""Whole models that are partitioned from the start: no fully dynamic one has to be made first."""

from typing import Any

import torch

from benchmarks.layers import dynamic_count
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.layout import Granularity
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.pad_model import PADModelMixin


def partitioned_fields(
    model_class: type[PADModelMixin], config: PADConfigMixin, granularity: Granularity, ratio: float = 0.5
) -> dict[str, Any]:
    """Fields of the configuration that a model of this class has when `ratio` of every weight is dynamic."""
    with torch.device("meta"):
        whole = model_class(config)
    counts = {
        name.removeprefix(f"{whole.base_model_prefix}."): dynamic_count(
            weight.num_candidates(granularity), granularity, ratio
        )
        for name, weight in pad_weights(whole).items()
    }
    return {"dynamic_counts": counts, "partition": {"granularity": granularity}}
