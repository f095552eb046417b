import json
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from benchmarks.choice import draw_choice
from benchmarks.comparison import Comparison
from benchmarks.pad_bert import BASELINE, DENSE, ELEMENT, INFERENCE, STEP, UNIT


def result(part: str, quantity: str, sentences: int, times: float) -> Comparison:
    """Every variant takes so many times what dense takes, in both rounds."""
    values = {DENSE: [2.0, 4.0]} | {name: [2.0 * times, 4.0 * times] for name in (BASELINE, ELEMENT, UNIT)}
    return Comparison(part, {"sentences": sentences, "tokens each": 128}, quantity, values, (BASELINE,))


def test_the_picture_shows_ratios_to_dense_by_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [result(INFERENCE, "seconds", 8, 3.0), result(INFERENCE, "seconds", 1, 1.5)]
    results += [result(STEP, quantity, 8, 2.5) for quantity in ("seconds", "peak bytes", "parameter bytes")]
    (tmp_path / "pad_bert.json").write_text(json.dumps({"comparisons": [one.to_json() for one in results]}))
    drawn: list[tuple] = []
    errorbar = Axes.errorbar
    monkeypatch.setattr(Axes, "errorbar", lambda axes, *a, **k: drawn.append(a[:2]) or errorbar(axes, *a, **k))
    path = draw_choice(tmp_path)
    assert path == tmp_path / "choice.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert drawn[0] == ([128, 1024], [1.5, 3.0])
    assert drawn[3:] == [([1024], [2.5])] * 9


def test_without_results_there_is_no_picture(tmp_path: Path) -> None:
    assert draw_choice(tmp_path) is None
    assert not list(tmp_path.iterdir())
