import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.layers import conv_paths
from padnet_hf.layers.conv_paths import ConvPaths, paths, using
from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from tests.layers.reference_conv import SHAPES, assert_same, make_conv, make_inputs, run

EXTREMES = {
    name: {replace(ConvPaths(), **{name: value}) for value in values}
    for name, values in {
        "scratch_bytes": (0, 2**60),
        "block_bytes": (0, 2**60),
        "lanes": (1, 10**6),
        "output_mixing": (0, 10**12),
        "small_kernel": (0, 10**12),
        "apart": (0.0, 1e12),
        "narrow": (0, 10**12),
    }.items()
}
ALL_LOW = ConvPaths(0, 0, 1, 0, 0, 0.0, 0)
ALL_HIGH = ConvPaths(2**60, 2**60, 10**6, 10**12, 10**12, 1e12, 10**12)
APART = [ConvPaths(output_mixing=0, apart=0.0, narrow=narrow) for narrow in (0, 10**12)]


@pytest.mark.parametrize("shape", ["1x1", "1x1, stride", "3x3", "stride", "depthwise"])
@pytest.mark.parametrize("form", ["fully dynamic", "element", "unit"])
def test_no_value_or_gradient_depends_on_the_table(form: str, shape: str) -> None:
    def results(table: ConvPaths) -> list[dict[str, Tensor]]:
        found = []
        with using(table):
            for batch in (1, 3):
                conv = make_conv(form, **SHAPES[shape])
                with torch.no_grad():
                    alone = conv(make_inputs(batch))
                found.append(run(conv, make_inputs(batch)) | {"without gradients": alone})
        return found

    expected = results(ConvPaths())
    for table in (ALL_LOW, ALL_HIGH, *APART, *(table for tables in EXTREMES.values() for table in tables)):
        for actual, other in zip(results(table), expected, strict=True):
            assert_same(actual, other)


def _written(folder: Path, content: object) -> str:
    path = folder / "table.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_the_environment_names_the_table_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(ConvPaths(), lanes=8, apart=2.5)
    monkeypatch.setenv("PADNET_CONV_PATHS", _written(tmp_path, {"conv_paths": asdict(table), "environment": {}}))
    monkeypatch.setattr(conv_paths, "_in_use", None)
    PADDynamicConv2d(4, 8, 3)
    assert paths() == table
    with using(ConvPaths()):
        assert paths() == ConvPaths()
    assert paths() == table


def test_a_constant_that_the_file_leaves_out_keeps_its_default(tmp_path: Path) -> None:
    assert ConvPaths.from_file(_written(tmp_path, {"conv_paths": {"lanes": 4}})) == replace(ConvPaths(), lanes=4)


BAD = {
    "{": "cannot be read as JSON",
    "[1]": "no object 'conv_paths'",
    '{"conv_paths": 3}': "no object 'conv_paths'",
    '{"conv_paths": {"lane": 3}}': "'lane' is no constant, but one of scratch_bytes, block_bytes, lanes",
    '{"conv_paths": {"lanes": 0}}': "lanes is 0, but must be a whole number of at least 1",
    '{"conv_paths": {"lanes": 2.0}}': "lanes is 2.0, but must be a whole number of at least 1",
    '{"conv_paths": {"block_bytes": -1}}': "block_bytes is -1, but must be a whole number of at least 0",
    '{"conv_paths": {"small_kernel": true}}': "small_kernel is True, but must be a whole number of at least 0",
    '{"conv_paths": {"apart": NaN}}': "apart is nan, but must be a number of at least 0",
    '{"conv_paths": {"apart": "1"}}': "apart is '1', but must be a number of at least 0",
}


@pytest.mark.parametrize("content", BAD)
def test_a_wrong_file_is_refused_when_a_layer_is_made(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _written(tmp_path, content)
    monkeypatch.setenv("PADNET_CONV_PATHS", path)
    monkeypatch.setattr(conv_paths, "_in_use", None)
    for _ in range(2):  # nothing is taken in its place the second time
        with pytest.raises(PADNetError) as caught:
            PADDynamicConv2d(4, 8, 3)
        assert BAD[content] in str(caught.value)
        assert path in str(caught.value)
        assert "benchmarks.tune_convolutions" in str(caught.value)


def test_a_file_that_is_not_there_is_one_error_of_the_program(tmp_path: Path) -> None:
    environment = {**os.environ, "PADNET_CONV_PATHS": str(tmp_path / "none.json")}
    program = "from padnet_hf import PADDynamicConv2d; PADDynamicConv2d(4, 8, 3)"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert "none.json" in last
    assert "unset PADNET_CONV_PATHS" in last
