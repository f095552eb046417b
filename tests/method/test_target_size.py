from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from padnet_hf import PADNetError, PartitionConfig, partition
from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.method.config import bytes_of
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.selection import UNIT_BLOCK

HIDDEN = 64
FORMS = {
    "element": {"granularity": "element"},
    "unit": {"granularity": "unit"},
    "own masks": {"granularity": "element", "masks": "per_copy"},
    "left out": {"granularity": "unit", "masks": "per_copy", "static_values": "none"},
}


def _model(dtype: torch.dtype = torch.float32) -> nn.Module:
    """Copies that are equal, in layers of 256 and 1,000 hidden neurons."""
    layers = (PADFeedForward(HIDDEN, inner, "gelu", num_experts=3, top_k=2) for inner in (256, 1000))
    model = nn.ModuleList(layers).to(dtype)
    for weight in pad_weights(model).values():
        nn.init.constant_(weight.dynamic, 1.0)
    return model


def _size(model: nn.Module, folder: Path) -> int:
    save_file(model.state_dict(), folder / "model.safetensors")
    return (folder / "model.safetensors").stat().st_size


def _partition(model: nn.Module, **fields: Any) -> dict[str, Any]:
    return partition(model, None, PartitionConfig(criterion="random", **fields), progress=False).record


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.93])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_file_is_no_larger_than_asked_for_and_not_much_smaller(
    dtype: torch.dtype, share: float, form: str, scope: str, tmp_path: Path
) -> None:
    most, static = _size(_model(dtype), tmp_path), _model(dtype)
    _partition(static, dynamic_ratio=0)
    target = round(_size(static, tmp_path) * (1 - share) + share * most)
    model = _model(dtype)
    record = _partition(model, **FORMS[form], scope=scope, target_size=target)
    size, slack = _size(model, tmp_path), len(model.state_dict()) * 2 * 128
    if FORMS[form]["granularity"] == "unit":
        slack += sum(3 * UNIT_BLOCK * (2 * HIDDEN + 1) * dtype.itemsize for _ in model)
    if form == "own masks" and record["dynamic_ratio"] == 0:  # for as many bits nothing else is left
        slack += sum(3 * weight.shape.numel() // 8 + 4 * 2 * 128 for weight in pad_weights(model).values())
    else:
        assert 0 < record["dynamic_ratio"] < 1
    assert target - slack <= size <= target
    assert record["target_size"] is None


def test_a_size_that_no_ratio_gives_is_refused_with_both_limits() -> None:
    with pytest.raises(PADNetError, match=r"from 0\.7MB with everything static to 1\.9MB fully dynamic") as caught:
        _partition(_model(), target_size="1GB")
    assert "target_size is '1GB'" in str(caught.value)
    with pytest.raises(PADNetError, match="target_size is 10,"):
        _partition(_model(), target_size=10)


@pytest.mark.parametrize(
    ("text", "size"), [("120MB", 120 * 10**6), ("1.5 gb", 15 * 10**8), ("800K", 800_000), (77, 77), ("77", 77)]
)
def test_sizes_as_people_write_them(text: str | int, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-3MB", "12 XB", "1.2.3MB", True, 1.5j])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(PADNetError, match="but must be a number of bytes, or text like '120MB'"):
        PartitionConfig(target_size=text)


def test_a_size_and_a_ratio_exclude_each_other() -> None:
    with pytest.raises(PADNetError, match=r"dynamic_ratio 0\.5 and target_size '1MB' exclude each other"):
        PartitionConfig(dynamic_ratio=0.5, target_size="1MB")
    assert PartitionConfig().dynamic_ratio == 0.5
    assert PartitionConfig(target_size="1MB").dynamic_ratio is None
