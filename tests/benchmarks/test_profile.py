import pytest

from benchmarks.pad_bert import BASELINE, QUICK, UNIT
from benchmarks.profile import shares


@pytest.mark.parametrize("variant", [UNIT, BASELINE])
def test_the_shares_of_all_operators_of_a_step_make_up_the_whole(variant: str) -> None:
    rows = shares(variant, QUICK, 2, 1)
    assert sum(share for _, share, _ in rows) == pytest.approx(1)
    assert rows == sorted(rows, key=lambda row: -row[1])
    assert any("_fused_adamw_" in name for name, _, _ in rows)
