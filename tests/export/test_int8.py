import numpy as np
import pytest

from padnet_hf.export.int8 import BLOCK, quantize_blocks


@pytest.mark.parametrize(("shape", "axis"), [((7,), 0), ((3, 200), 1), ((2, 150, 4), 1), ((128, 3, 3), 0)])
def test_no_value_moves_by_more_than_half_a_step_of_its_block(shape: tuple[int, ...], axis: int) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    codes, scales = quantize_blocks(values, axis)
    assert codes.shape == shape
    assert codes.dtype == np.int8
    assert scales.shape[axis] == -(-shape[axis] // BLOCK)
    steps = np.repeat(scales, BLOCK, axis).take(range(shape[axis]), axis)
    assert (np.abs(codes * steps - values) <= steps / 2 * 1.001).all()
    assert (np.abs(codes).max(axis) == 127).all()


def test_blocks_of_zeros_stay_zero() -> None:
    codes, scales = quantize_blocks(np.zeros((2, 70), np.float32))
    assert not codes.any()
    assert (scales == 1).all()
