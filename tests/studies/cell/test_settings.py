import pytest

from padnet_hf import PADNetError
from studies.cell.settings import Cell
from tests.studies.conftest import tiny_cell


@pytest.mark.parametrize(
    ("method", "fields", "said"),
    [
        ("moe", {}, "method is 'moe', but must be one of dense, dynamic, pad"),
        ("pad", {}, "ratio is None, but the method 'pad' needs one"),
        ("dense", {"ratio": 0.5}, "ratio is 0.5, but the method 'dense' needs none"),
        ("dense", {"router_noise": False}, "router_noise is False, which has no effect on 'dense'"),
        ("dense", {"warm_share": 0.5}, "warm_share is 0.5, which has no effect on 'dense'"),
        ("dynamic", {"rounds": 1}, "rounds is 1, which has no effect on 'dynamic'"),
        ("dynamic", {"warm_share": 1.0}, "warm_share is 1.0, but must be from 0 to below 1"),
        ("prune", {"ratio": 0.5, "scales": "fixed"}, "scales is 'fixed', which has no effect on 'prune'"),
        ("pad", {"ratio": 0.5, "scales": "both"}, "scales is 'both', but must be one of learned, fixed"),
        ("experts", {"ratio": 0.5, "granularity": "unit"}, "granularity is 'unit', which has no effect on 'experts'"),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused(method: str, fields: dict, said: str) -> None:
    with pytest.raises(PADNetError, match=said.replace("(", r"\(")):
        tiny_cell(method, **fields)


def test_a_cell_goes_to_json_and_back() -> None:
    cell = tiny_cell("pad", ratio=0.3, moe_layers=(1, 2), router_noise=False)
    assert Cell.from_json(cell.to_json()) == cell
    assert Cell.from_json({**cell.to_json(), "moe_layers": [1, 2]}) == cell


def test_keys_and_titles_tell_cells_apart() -> None:
    cells = [tiny_cell("dense"), tiny_cell("dense", seed=2), *(tiny_cell("pad", ratio=r) for r in (0.3, 0.5))]
    assert len({cell.key() for cell in cells}) == len({cell.title() for cell in cells}) == 4
    assert "ratio 0.3" in cells[2].title()
    assert "rounds" not in cells[2].title()  # the default
