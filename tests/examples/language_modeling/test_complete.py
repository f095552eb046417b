"""What a model writes after a text, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from complete import complete

SCRIPT = Path(__file__).parents[3] / "examples" / "language_modeling" / "complete.py"


@pytest.mark.parametrize("text", ["def ", "def f1", "#", "x  "])
def test_a_completion_begins_with_the_text(text: str, tiny_llama: str) -> None:
    written = complete(tiny_llama, text)
    assert written.startswith(text)
    assert len(written) > len(text)


def test_the_process_says_so_if_it_needed_this_package(tiny_llama: str) -> None:
    alone = subprocess.run([sys.executable, SCRIPT, tiny_llama, "def "], capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.startswith("def ")
    code = f"import sys, runpy, padnet_hf; sys.argv[1:] = [{tiny_llama!r}, 'def ']; runpy.run_path({str(SCRIPT)!r}, "
    with_it = [sys.executable, "-c", code + "run_name='__main__')"]
    done = subprocess.run(with_it, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "padnet_hf was imported" in done.stderr
