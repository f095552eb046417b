"""A process that is killed while it saves leaves the earlier checkpoint, or the new one, or none, but no mixture."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from padnet_hf.errors import PADCheckpointError
from tests.hub.cases import logits_of, make_batch, make_model, moved
from tests.hub.simulated_hub import PROJECT

SAVE = """
import os, signal, sys
from transformers import modeling_utils
from padnet_hf.errors import PADCheckpointError
from tests.hub.cases import make_model, moved

model = moved(make_model("bert-unit"), seed=2)

def killed_at(number, module, name, folder):
    if pid := os.fork():
        return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    function, calls = getattr(module, name), []
    def call(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    setattr(module, name, call)
    model.save_pretrained(folder, max_shard_size="150KB" if "sharded" in folder else "50GB")
    os._exit(0)

for folder in sys.argv[1:]:
    where, number = folder.split("-")[1:]
    module, function = (modeling_utils, "safe_save_file") if where == "writing" else (os, "replace")
    print(killed_at(int(number), module, function, folder), flush=True)  # or each process after it would print it too
"""


FOLDERS = {
    # killed while it writes the third shard, before the code file, which comes last, and before the first move
    "sharded-writing-3": "earlier",
    "sharded-moving-1": "earlier",
    "sharded-moving-2": "nothing",
    "sharded-moving-4": "nothing",
    "whole-writing-1": "earlier",
    "whole-moving-1": "earlier",
    "whole-moving-4": "new",
}
"""Folder, named after where in the save of a new model the process is killed, and what loads from it."""


def test_a_killed_save_never_leaves_a_mixture(tmp_path: Path) -> None:
    earlier = make_model("bert-unit")
    for name in FOLDERS:
        earlier.save_pretrained(tmp_path / name, max_shard_size="150KB" if name.startswith("sharded") else "50GB")
    command, environment = [sys.executable, "-c", SAVE, *FOLDERS], {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["9"] * len(FOLDERS), done.stderr
    batch = make_batch("bert")
    logits = {"earlier": logits_of(earlier, batch), "new": logits_of(moved(make_model("bert-unit"), seed=2), batch)}
    for name, expected in FOLDERS.items():
        if expected == "nothing":
            with pytest.raises(PADCheckpointError, match=r"has no model\.safetensors"):
                type(earlier).from_pretrained(tmp_path / name)
        else:
            loaded = logits_of(type(earlier).from_pretrained(tmp_path / name), batch)
            assert torch.equal(loaded, logits[expected]), name
        earlier.save_pretrained(tmp_path / name)  # over whatever is left
        assert torch.equal(logits_of(type(earlier).from_pretrained(tmp_path / name), batch), logits["earlier"])
        assert not (tmp_path / name / "_unfinished").exists()
