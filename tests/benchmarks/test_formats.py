from pathlib import Path

import pandas as pd
import pytest
from transformers import BertTokenizer

from benchmarks.checkpoints import WORDS
from benchmarks.formats import main
from tests.export.models import small


@pytest.mark.thorough
def test_every_format_has_a_row_and_finished_rows_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, data, document = tmp_path / "bert_unit" / "full_tuning", tmp_path / "task", tmp_path / "deploy.md"
    small("bert-unit", vocab_size=len(WORDS)).save_pretrained(checkpoint)
    BertTokenizer({word: number for number, word in enumerate(WORDS)}).save_pretrained(checkpoint)
    data.mkdir()
    rows = pd.DataFrame({"sentence": [" ".join(WORDS[5:9]), WORDS[6]] * 20, "label": [0, 1] * 20})
    rows.to_parquet(data / "validation-0.parquet")
    document.write_text("<!-- benchmarks: formats_task -->\n<!-- /benchmarks -->\n")
    words = [str(checkpoint), "--data", str(data), "--output", str(tmp_path / "out"), "--fill", str(document)]
    main(words)
    first = capsys.readouterr().out
    lines = document.read_text().splitlines()[4:-2]
    columns = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [column[:2] for column in columns] == [
        ["bert unit", name] for name in ("safetensors", "onnx", "onnx int8", "torch.export")
    ]
    accuracy = {column[3] for column in columns if column[1] != "onnx int8"}
    assert len(accuracy) == 1
    assert float(accuracy.pop()) in (0.0, 50.0, 100.0)
    main(words)
    assert capsys.readouterr().out == first
