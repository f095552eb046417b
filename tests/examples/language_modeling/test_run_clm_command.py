"""run_clm.py as a command, in a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path


def test_the_command_says_its_error_in_one_line_and_exits_with_two(script: Path, tmp_path: Path) -> None:
    options = ["--model_type", "llama", "--do_train", "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True, text=True, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(r"error: a new model \(--model_type\) brings no tokenizer: add --tokenizer_name\n", done.stderr)
    assert not (tmp_path / "out").exists()
