import pytest

from padnet_hf import PADNetError, PartitionConfig
from padnet_hf.jobs.refusals import as_one_error
from padnet_hf.method.packing import unpack_mask
from tests.jobs.library import in_a_library


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("ValueError('no such\\noption.')", "no such option"),
        ("ImportError('tensorboard is not installed')", "tensorboard is not installed"),
        ("PermissionError(13, 'Permission denied', '/there')", "[Errno 13] Permission denied: '/there'"),
        ("KeyError('eval_f2')", "KeyError: 'eval_f2'"),
        ("TypeError('missing min_lr')", "TypeError: missing min_lr"),
        ("ZeroDivisionError()", "ZeroDivisionError: "),
    ],
)
def test_what_a_library_raises_becomes_one_error_with_its_cause(raised: str, said: str) -> None:
    with pytest.raises(PADNetError) as caught, as_one_error("these options", "leave them out"):
        in_a_library(f"def run(): raise {raised}")()
    assert str(caught.value) == f"these options: {said}; leave them out"
    assert type(caught.value.__cause__).__name__ == raised.split("(")[0]


def test_an_error_of_ours_stays_as_it_is() -> None:
    with pytest.raises(PADNetError, match=r"^dynamic_ratio is 2"), as_one_error("these options", "leave them out"):
        PartitionConfig(dynamic_ratio=2)


def test_a_mistake_in_our_code_stays_as_it_is() -> None:
    with pytest.raises(AttributeError), as_one_error("these options", "leave them out"):
        unpack_mask(None, 3)  # raised by a line of the package
    with pytest.raises(ZeroDivisionError), as_one_error("these options", "leave them out"):
        int(1 / 0)  # by the block itself
    with pytest.raises(KeyError), as_one_error("these options", "leave them out"):
        beside_the_block({})


def beside_the_block(values: dict) -> None:
    values["missing"]


def test_what_a_stop_raises_is_not_touched() -> None:
    with pytest.raises(KeyboardInterrupt), as_one_error("these options", "leave them out"):
        in_a_library("def run(): raise KeyboardInterrupt")()
