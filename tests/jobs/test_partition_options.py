from dataclasses import dataclass
from typing import ClassVar

import pytest

from padnet_hf import PADNetError, PartitionConfig
from padnet_hf.jobs.command_line import option
from padnet_hf.jobs.partition_options import PartitionOptions, partition_config, partition_options


@dataclass
class Options(PartitionOptions):
    """Those of a script whose layers have kernels."""

    use_dynamic: bool = option("Fully dynamic.", False)
    num_kernels: int | None = option("Copies.")

    plain: ClassVar[str] = "static"
    dynamic_option: ClassVar[str] = "use_dynamic"
    layer_options: ClassVar[tuple[str, ...]] = ("num_kernels",)
    partition_defaults: ClassVar[dict[str, float]] = {"dynamic_ratio": 0.3}


def test_the_network_is_what_the_two_switches_say() -> None:
    assert [Options(use_pad=pad, use_dynamic=dynamic).variant for pad, dynamic in ((0, 0), (0, 1), (1, 0))] == [
        "static", "fully dynamic", "partitioned",
    ]  # fmt: skip


def test_a_script_may_have_its_own_default_and_the_line_wins() -> None:
    assert partition_config(Options(), 1) is None
    assert partition_config(Options(use_pad=True), 1) == PartitionConfig(dynamic_ratio=0.3, seed=1)
    assert partition_config(Options(use_pad=True, dynamic_ratio=0.6), 1).dynamic_ratio == 0.6


def test_stated_defaults_are_recorded_like_defaults() -> None:
    stated = Options(use_pad=True, dynamic_ratio=0.3, imp_rounds=3, imp_schedule="exponential")
    recorded = partition_options(partition_config(stated, 1))
    assert recorded == partition_options(partition_config(Options(use_pad=True), 1))
    assert recorded["imp_rounds"] == 3
    assert partition_options(None) == {}


def test_masks_of_each_copy_and_units_left_out_are_asked_for() -> None:
    asked = Options(use_pad=True, masks="per_copy", granularity="unit", imp_static_values="none")
    assert partition_config(asked, 1).masks == "per_copy"
    assert partition_options(partition_config(asked, 1))["masks"] == "per_copy"
    assert partition_options(partition_config(Options(use_pad=True), 1))["masks"] == "shared"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_pad": True, "use_dynamic": True}, "--use_pad and --use_dynamic exclude each other"),
        ({"dynamic_ratio": 0.0}, r"--dynamic_ratio 0\.0 has no effect on a static network: add --use_pad$"),
        ({"use_dynamic": True, "imp_rounds": 2}, "fully dynamic network: add --use_pad instead of --use_dynamic$"),
        ({"num_kernels": 4}, "--num_kernels 4 has no effect on a static network: add --use_pad or --use_dynamic$"),
        ({"use_pad": True, "dynamic_ratio": float("nan")}, "dynamic_ratio is nan"),
        ({"masks": "per_copy"}, "--masks per_copy has no effect on a static network: add --use_pad$"),
        ({"use_pad": True, "masks": "per_copy", "granularity": "unit"}, "static_values='none'"),
        ({"partition_when": "after"}, "--partition_when after has no effect on a static network: add --use_pad$"),
        ({"use_pad": True, "recovery_steps": 3}, "--recovery_steps 3 has no effect: add --partition_when after$"),
        ({"use_pad": True, "partition_when": "after", "recovery_steps": -1}, "is -1, but must be at least 0"),
    ],
)
def test_combinations_and_values_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        partition_config(Options(**options), 1)
