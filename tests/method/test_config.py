import json
import math
import re
from typing import Any, ClassVar

import pytest

from padnet_hf.errors import PADNetError
from padnet_hf.method.config import PartitionConfig


def test_defaults_are_valid_and_fields_are_json() -> None:
    config = PartitionConfig()
    assert PartitionConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_a_model_may_have_defaults_of_its_own_and_what_is_given_wins() -> None:
    class Model:
        partition_defaults: ClassVar = {"scope": "layer"}

    assert PartitionConfig.for_model(Model(), seed=3) == PartitionConfig(scope="layer", seed=3)
    assert PartitionConfig.for_model(Model(), scope="global") == PartitionConfig()
    assert PartitionConfig.for_model(object()) == PartitionConfig()


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        *(("dynamic_ratio", value, r"from 0 .* to 1") for value in (-0.1, 1.1, math.nan, math.inf, True, "0.5")),
        *(("granularity", value, "'element', 'unit'") for value in ("row", None, ["element"])),
        *(("criterion", value, "'snip', 'fisher', 'magnitude', 'random'") for value in ("taylor", 1)),
        *(("schedule", value, "'exponential', 'linear'") for value in ("cosine", None)),
        *(("scope", value, "'global', 'layer'") for value in ("model", None)),
        *(("static_branch", value, "'drop', 'keep'") for value in ("mean", None)),
        *(("num_rounds", value, "at least 1") for value in (0, -3, 1.0, True, "3")),
        *(("num_batches", value, "at least 1") for value in (0, -1, 2.0, False)),
        *(("seed", value, "at least 0") for value in (-1, 0.0, None)),
    ],
)
def test_a_bad_field_is_refused_with_its_value_and_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(PADNetError) as caught:
        PartitionConfig(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"{field} is {value!r}, but ")
    assert re.search(allowed, message)


@pytest.mark.parametrize("ratio", [0, 1, 0.0, 1.0, 0.5])
def test_the_ends_of_the_range_are_allowed(ratio: float) -> None:
    assert PartitionConfig(dynamic_ratio=ratio).dynamic_ratio == ratio


@pytest.mark.parametrize("kappa", [0.0, 0.1, 0.3, 1 / 3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("num_rounds", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("schedule", ["exponential", "linear"])
def test_shares_fall_and_end_exactly_at_kappa(kappa: float, num_rounds: int, schedule: str) -> None:
    config = PartitionConfig(dynamic_ratio=kappa, num_rounds=num_rounds, schedule=schedule)
    shares = [config.share_after(number) for number in range(1, num_rounds + 1)]
    assert shares[-1] == kappa
    assert all(later <= earlier for earlier, later in zip([1.0, *shares], shares, strict=False))


def test_schedules_are_the_ones_worked_by_hand() -> None:
    exponential = PartitionConfig(dynamic_ratio=0.125, num_rounds=3)
    assert [exponential.share_after(t) for t in (1, 2, 3)] == pytest.approx([0.5, 0.25, 0.125])
    linear = PartitionConfig(dynamic_ratio=0.4, num_rounds=3, schedule="linear")
    assert [linear.share_after(t) for t in (1, 2, 3)] == pytest.approx([0.8, 0.6, 0.4])


def test_a_record_gives_the_configuration_back() -> None:
    config = PartitionConfig(dynamic_ratio=0.3, granularity="unit", seed=7)
    record = config.to_dict() | {"num_samples": 12, "mask_hash": "ab", "padnet_hf_version": "0.2.0"}
    assert PartitionConfig.from_record(record) == config
