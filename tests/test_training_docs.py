"""Every snippet of docs/training.md works as it stands, one after the other."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.slow
def test_snippets_run_one_after_the_other(minilm_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(SNIPPETS) == 4
    (tmp_path / "bert-base-uncased").symlink_to(minilm_folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/training.md", "exec"), names)
    assert names["trainer"].state.global_step == 2
