import pytest

from padnet_hf import PADBertConfig, PADNetError
from padnet_hf.jobs.variants import needs_upcycling

FULLY = PADBertConfig(num_experts=4)
PARTITIONED = PADBertConfig(num_experts=4, partition={"granularity": "element", "dynamic_ratio": 0.5})


def _needs(own: str, asked: str, config: PADBertConfig = FULLY, resuming: bool = False, **given: object) -> bool:
    return needs_upcycling(
        "model", config, own=own, asked=asked, plain="dense", option="--use_pad", given=given, resuming=resuming
    )


def test_only_a_plain_model_asked_to_be_dynamic_is_upcycled() -> None:
    assert _needs("dense", "partitioned")
    assert _needs("dense", "fully dynamic")
    assert not _needs("dense", "dense")
    assert not _needs("fully dynamic", "partitioned", num_experts=4)
    assert not _needs("partitioned", "dense", PARTITIONED)


def test_a_resumed_run_takes_the_checkpoint_as_it_is() -> None:
    assert not _needs("partitioned", "partitioned", PARTITIONED, resuming=True)
    assert not _needs("partitioned", "dense", PARTITIONED, resuming=True)  # as it was before its first run
    with pytest.raises(PADNetError, match="is partitioned, but asked for is fully dynamic"):
        _needs("partitioned", "fully dynamic", PARTITIONED, resuming=True)


def test_a_partitioned_model_is_not_partitioned_again() -> None:
    with pytest.raises(PADNetError, match=r"partitioned already \(dynamic_ratio 0.5\): leave out --use_pad"):
        _needs("partitioned", "partitioned", PARTITIONED)


def test_an_option_that_the_model_contradicts_is_an_error() -> None:
    with pytest.raises(PADNetError, match="--num_experts is 8, but 'model' has 4"):
        _needs("fully dynamic", "partitioned", num_experts=8)
