import json
from pathlib import Path

import pytest
import torch

from benchmarks.cells import Cell, run_table, stored_parameters

SCRIPT = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import save_file

folder = Path(sys.argv[sys.argv.index("--output_dir") + 1])
folder.mkdir(parents=True)
save_file({"weight": torch.zeros(3, 4), "mask_bits": torch.zeros(7, dtype=torch.uint8)}, folder / "model.safetensors")
(folder / "all_results.json").write_text(json.dumps({"eval_accuracy": float(sys.argv[1])}))
"""


def test_a_finished_cell_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, output = tmp_path / "script.py", tmp_path / "table"
    script.write_text(SCRIPT)
    cells = [
        Cell({"data": "d", "method": f"a method {value}"}, [str(value)], {"accuracy": "eval_accuracy"}, {"kind": "x"})
        for value in (0.25, 0.5)
    ]
    first = run_table(script, cells, output, lambda rows: f"{len(rows)} rows")
    script.write_text("raise SystemExit(1)")
    assert run_table(script, cells, output, lambda rows: f"{len(rows)} rows") == first
    assert json.loads((output / "table.json").read_text()) == first
    assert [(row["accuracy"], row["kind"], row["parameters"]) for row in first] == [(0.25, "x", 12), (0.5, "x", 12)]
    assert (output / "d" / "a_method_0.5" / "cell.json").exists()
    assert "2 rows" in capsys.readouterr().out
    assert stored_parameters(output / "d" / "a_method_0.5") == torch.Size((3, 4)).numel()
