import struct
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from padnet_hf.errors import PADNetError
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.report import PartitionReport, report
from tests.method.toy import ToyModel


@pytest.fixture(scope="module")
def sizes() -> PartitionReport:
    return partition(ToyModel(), None, PartitionConfig(criterion="random"), progress=False)


def test_plot_writes_a_png_of_a_readable_size(sizes: PartitionReport, tmp_path: Path) -> None:
    path = tmp_path / "partition.png"
    sizes.plot(path)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 1000
    assert height >= 400
    assert len(data) > 10_000


def test_plot_takes_other_formats_by_suffix_and_shows_every_layer(sizes: PartitionReport, tmp_path: Path) -> None:
    import matplotlib

    path = tmp_path / "partition.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        sizes.plot(str(path))
    text = path.read_text()
    for shown in ("layers.*", ">0<", ">1<", "dense", "fully", *(f"{x.dynamic_ratio:.2f}" for x in sizes.layers)):
        assert shown in text


def test_names_of_layers_are_drawn_as_they_are(sizes: PartitionReport, tmp_path: Path) -> None:
    import matplotlib

    names = [f"$a.{number}$.\\frac{{" for number in range(len(sizes.layers))]
    layers = tuple(replace(layer, name=name) for layer, name in zip(sizes.layers, names, strict=True))
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        replace(sizes, layers=layers).plot(tmp_path / "partition.svg")
    assert all(f">{number}$<" in (tmp_path / "partition.svg").read_text() for number in range(len(names)))
    assert ">$a.*.\\frac{<" in (tmp_path / "partition.svg").read_text()


def test_plot_does_not_touch_the_global_figures(sizes: PartitionReport, tmp_path: Path) -> None:
    import matplotlib.pyplot

    before = matplotlib.pyplot.get_fignums()
    sizes.plot(tmp_path / "partition.png")
    assert matplotlib.pyplot.get_fignums() == before


@pytest.mark.parametrize("kappa", [0, 1])
def test_extreme_ratios_can_be_drawn(kappa: int, tmp_path: Path) -> None:
    model = ToyModel()
    partition(model, None, PartitionConfig(dynamic_ratio=kappa), progress=False)
    report(model).plot(tmp_path / "partition.png")
    assert (tmp_path / "partition.png").stat().st_size > 10_000


def test_without_matplotlib_the_error_says_what_to_install(
    sizes: PartitionReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PADNetError, match="pip install matplotlib"):
        sizes.plot(tmp_path / "partition.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("partition.xyz", r"cannot draw to '.*partition\.xyz': give a file that ends in \.png, \.pdf, \.svg"),
        ("partition", "cannot draw to '.*partition': give a file that ends in"),
        ("missing/partition.png", "cannot draw to '.*partition.png': .* in a folder that is there"),
    ],
)
def test_a_file_that_cannot_be_drawn_is_named(sizes: PartitionReport, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        sizes.plot(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
