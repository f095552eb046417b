"""What a process of a run notes about its own model, for the test that started it."""

import hashlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import TrainerCallback

from padnet_hf.method.layer import hash_masks, pad_weights


class StateNote(TrainerCallback):
    """Notes, at the start and at the end of training, hashes of this process's masks and weights."""

    def __init__(self, folder: Path) -> None:
        rank = os.environ.get("RANK", "0")
        self.path, self.notes = folder / f"state{rank}.json", {}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._note("begin", model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._note("end", model)

    def _note(self, when: str, model: torch.nn.Module) -> None:
        masks = [weight.mask() for weight in pad_weights(model).values() if weight.mask_bits is not None]
        digest = hashlib.sha256()
        for parameter in model.parameters():
            digest.update(parameter.detach().contiguous().numpy().tobytes())
        self.notes[when] = {"masks": hash_masks(masks), "weights": digest.hexdigest()}
        self.path.write_text(json.dumps(self.notes))


def note_state(script: ModuleType, folder: Path) -> None:
    """Let the script's Trainer note its state in `folder`, a file for each process."""
    build = script.build_trainer

    def with_notes(*args: Any) -> Any:
        trainer = build(*args)
        trainer.add_callback(StateNote(folder))
        return trainer

    script.build_trainer = with_notes
