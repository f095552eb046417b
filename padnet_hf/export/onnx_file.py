"""From a graph of torch operations to ONNX, no larger than the compact model; and running it.

onnx, onnxscript and onnxruntime are imported when they are needed: they are the extra `export`.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from padnet_hf.errors import PADNetError

if TYPE_CHECKING:
    from onnx_ir import Model

OPSETS = range(18, 24)
"""Versions of ONNX's operators that graphs can be written in."""

OPSET = 21
"""The oldest that has int8 weights with a scale per block."""

_FOLDED = 1024
"""So many values at most may a constant have that is worked out in place of the operations that give it: built weights
are left to whoever runs the file, or it would be as large as the fully dynamic one."""


_ONE_FILE = 2**31 - 2**24
"""Bytes of weights that a file can hold beside its graph."""


def check_opset(opset: int) -> None:
    """Raise PADNetError for operators that are too old or not known."""
    if opset not in OPSETS:
        raise PADNetError(f"opset is {opset}, but must be from {OPSETS[0]} to {OPSETS[-1]}; {OPSET} is the default.")


def check_installed() -> None:
    """Raise PADNetError if a package is missing that writes, or runs, ONNX."""
    packages = ("onnx", "onnxscript", "onnxruntime")
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise PADNetError(f"ONNX needs what is not installed here: pip install {' '.join(missing)}.")


def onnx_model(program: ExportedProgram, inputs: list[str], outputs: list[str], opset: int) -> "Model":
    """The graph in ONNX; torch takes the program apart, it cannot be translated twice."""
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from onnxscript.optimizer import optimize

    names = {"input_names": inputs, "output_names": outputs}
    with _quiet():
        found = torch.onnx.export(program, dynamo=True, optimize=False, opset_version=opset, verbose=False, **names)
        model = optimize(found.model, input_size_limit=_FOLDED, output_size_limit=_FOLDED)
    ClearMetadataAndDocStringPass()(model)  # a stack trace for every operation, with the paths of this machine
    return model


def save(model: "Model", path: Path) -> None:
    """Write it; weights of more than 2 GB, the most that one file can hold, into path.data beside it."""
    import onnx_ir

    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    onnx_ir.save(model, path, external_data=f"{path.name}.data" if weights > _ONE_FILE else None)


class OnnxRunner:
    """A file in onnxruntime, on the CPU, as a function of torch tensors; int8 weights are turned back once, here."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # or they are, in every run
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        feed: dict[str, Any] = {name: tensor.numpy() for name, tensor in inputs.items()}
        found = self.session.run(self.outputs, feed)
        return {name: torch.from_numpy(array) for name, array in zip(self.outputs, found, strict=True)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and onnxscript say about themselves: missing torchvision, their own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
