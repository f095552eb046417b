import pytest
import torch

from benchmarks.checkpoints import formula
from benchmarks.pad_bert import DENSE, ELEMENT, OURS, UNIT, Shape, build

SHAPE = Shape(1, 16, 64, 2, 10)
UP = DOWN = 64 * 16
BIASES = 64 + 16


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (OURS, 4 * 8 * (UP + DOWN + BIASES)),
        (ELEMENT, 4 * (8 + 1) * (UP + DOWN + BIASES) // 2 + (UP + DOWN + BIASES) // 8 + 4 * 4),  # 4 scale factors
        (UNIT, 4 * ((8 + 1) * (UP + DOWN + 64) // 2 + 8 * 16) + 4 * 3),  # the output bias stays dynamic
    ],
)
def test_the_formula_counts_copies_bits_and_scale_factors(variant: str, expected: int) -> None:
    with torch.device("meta"):
        dense, model = build(DENSE, SHAPE), build(variant, SHAPE)
    routers = sum(p.numel() for name, p in model.named_parameters() if "router" in name)
    rest = formula(dense) - 4 * (UP + DOWN + BIASES)
    assert formula(model) - rest - 4 * routers == expected


def test_the_formula_of_a_dense_model_is_its_parameters() -> None:
    with torch.device("meta"):
        model = build(DENSE, SHAPE)
    assert formula(model) == 4 * model.num_parameters()
