"""docs/families.md: its snippets run one after the other, and its tables are of every family."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import families as tables
from padnet_hf.models.known import KNOWN

PATH = Path(__file__).parents[1] / "docs" / "families.md"
TEXT = PATH.read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_a_family_and_a_module_of_a_users_own_work_as_the_document_says(tmp_path: Path) -> None:
    mixture, own_family, its_use, own_module = SNIPPETS
    assert len([line for line in own_family.splitlines() if line.strip()]) <= 25
    for program in (mixture, own_family + its_use, own_module):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "whole model" in done.stdout
        assert not re.search(r" -\n", done.stdout), "multiply-adds are not known"
        name = "PADRobertaPreLayerNormForSequenceClassification"
        assert (name in done.stdout.splitlines()) == (program == own_family + its_use)
        assert ("PADOlmoeForCausalLM" in done.stdout.splitlines()) == (program == mixture)


def test_the_tables_have_every_family() -> None:
    found = re.findall(r"^\| `([\w-]+)` \|", TEXT, re.MULTILINE)
    assert sorted(found) == sorted(KNOWN)
    assert re.findall(r"^\| ([\w.-]+(?: 1\.0)?) \| [\d.,]+M", TEXT, re.MULTILINE) == list(tables.CHECKPOINTS)


@pytest.mark.parametrize("checkpoint", ["roberta-base", "albert-base-v2", "ModernBERT-base", "resnet-50"])
def test_its_sizes_are_the_ones_of_the_present_code(checkpoint: str) -> None:
    element = tables.half_dynamic(checkpoint, "element").partition_report()
    cells = [f"{size.parameters / 1e6:,.1f}M" for size in (element.dense, element.fully_dynamic, element.current)]
    assert f"| {checkpoint} | {' | '.join(cells)} |" in TEXT


def test_differences_of_a_family_are_small() -> None:
    found = tables.differences("electra")
    assert 0 < found.partitioned <= 1e-5
    assert found.upcycled <= 1e-5
