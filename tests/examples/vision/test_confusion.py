import html
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from PIL import Image

from confusion import _per_cent, draw_confusions


@pytest.mark.parametrize("count", [2, 10, 30, 100])
def test_the_picture_grows_with_the_classes_up_to_a_limit(count: int, tmp_path: Path) -> None:
    confusions = np.random.default_rng(0).integers(0, 5, (count, count)) + 20 * np.eye(count, dtype=int)
    draw_confusions(confusions, [f"a rather long class {number}" for number in range(count)], tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as image:
        assert 400 < image.height <= 2100


def test_a_class_without_images_is_an_empty_row(tmp_path: Path) -> None:
    draw_confusions(np.array([[2, 1], [0, 0]]), ["a", "b"], tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 5_000


def test_no_share_is_rounded_to_nothing_or_everything() -> None:
    assert [_per_cent(share) for share in (0.001, 0.01, 0.5, 0.999, 1.0)] == ["<1", "1", "50", ">99", "100"]


NAMES = ["$5", "a$b$c", r"\frac{", "$\\undefined$", "_^{}%&#~", "<b>"]


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    with rc_context({"svg.fonttype": "none"}):
        draw_confusions(np.eye(len(NAMES), dtype=int), NAMES, tmp_path / "c.svg")
    drawn = html.unescape((tmp_path / "c.svg").read_text())
    assert [drawn.count(f">{name}<") for name in NAMES] == [2] * len(NAMES)
