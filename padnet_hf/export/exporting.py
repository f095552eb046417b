"""A model written for serving: one graph with its weights, checked against the model, and what prepares its inputs."""

import copy
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

from padnet_hf.errors import PADNetError
from padnet_hf.export.int8 import quantize
from padnet_hf.export.onnx_file import OPSET, OnnxRunner, check_installed, check_opset, onnx_model, save
from padnet_hf.export.program import (
    Inputs,
    exported_program,
    longest_input,
    named_tensors,
    random_inputs,
    takes_text,
)
from padnet_hf.export.text_embeddings import check_served, check_tokenizer, write_beside
from padnet_hf.hub.whole_files import check_new, filled_whole

FORMATS = {"onnx": "model.onnx", "torch": "model.pt2", "tei": "onnx/model.onnx"}
"""Format -> its file."""

_SHAPES = ((1, 1), (2, 7), (5, 33), (3, 128))
"""Batches and lengths that a file is checked with: none is the one that it was traced with."""

_TOLERANCE = {None: 1e-3, "int8": 0.2}
"""Of the largest output: beyond, the graph is not the model's."""


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        file: the graph's, in its folder.
        format: "onnx", "torch" or "tei".
        opset: of ONNX, None for torch.
        quantize: "int8" or None.
        file_bytes: of the graph with its weights.
        model_bytes: of the model's parameters and buffers.
        max_difference: of any output from the model's, over all checks.
        largest_output: the largest absolute value among the model's outputs there.
    """

    file: str
    format: str
    opset: int | None
    quantize: str | None
    file_bytes: int
    model_bytes: int
    max_difference: float
    largest_output: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        kind = "torch.export" if self.opset is None else f"ONNX, opset {self.opset}"
        weights = f"{self.quantize} weights" if self.quantize else "weights as they were"
        return (
            f"{kind}, {weights}: {self.file_bytes:,} bytes ({self.file_bytes / self.model_bytes:.1%} of the model's "
            f"{self.model_bytes:,})\nmaximum difference from the model {self.max_difference:.1e}, over "
            f"{len(_SHAPES)} random batches with outputs up to {self.largest_output:.3g}"
        )


def export_model(
    model: PreTrainedModel,
    folder: str | os.PathLike[str],
    format: str = "onnx",
    *,
    opset: int = OPSET,
    quantize: str | None = None,
    processing_class: PreTrainedTokenizerBase | BaseImageProcessor | None = None,
    pooling: str | None = None,
) -> ExportReport:
    """Write the model's graph with its weights, its configuration and its tokenizer or image processor.

    The graph takes any number of inputs, of any length up to the model's own; images of its `image_size`. It holds the
    compact weights, masks as bits. What was written is run on random batches, padding included, and compared.

    Args:
        folder: new or empty; it is filled whole or not at all.
        format: "onnx" (model.onnx), "torch" (model.pt2, for torch.export.load), or "tei" (onnx/model.onnx and all that
            text-embeddings-inference reads; for classifiers of texts and models of text without a head).
        opset: of ONNX, 18 to 23.
        quantize: "int8" for weights of a quarter of the size; ONNX from opset 21 only.
        processing_class: what prepares the inputs; "tei" needs a fast tokenizer.
        pooling: "mean", "cls" or "lasttoken", for "tei" and a model without a head.

    Raises PADNetError for what cannot be written, a model in training mode for instance.
    """
    target = Path(folder)
    check_export(target, format, opset, quantize)
    if format == "tei":
        check_served(type(model).__name__, pooling)
        check_tokenizer(processing_class)
    elif pooling is not None:
        raise PADNetError(f"the pooling is {pooling!r}, but is for the format 'tei': leave it out.")
    _check_model(model)
    with filled_whole(target) as unfinished:
        path = unfinished / FORMATS[format]
        path.parent.mkdir(exist_ok=True)
        run = _write_torch(model, path) if format == "torch" else _write_onnx(model, path, opset, quantize)
        difference, largest = _compare(model, run, quantize)
        config = copy.deepcopy(model.config)
        config.__dict__.pop("auto_map", None)  # its code is not here, nor needed
        config.save_pretrained(unfinished)
        if processing_class is not None:
            processing_class.save_pretrained(unfinished)
        if format == "tei":
            write_beside(unfinished, model, processing_class, pooling)
        written = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    held = sum(tensor.numel() * tensor.element_size() for tensor in {*model.parameters(), *model.buffers()})
    version = None if format == "torch" else opset
    return ExportReport(FORMATS[format], format, version, quantize, written, held, difference, largest)


def check_export(target: Path, format: str, opset: int = OPSET, quantize: str | None = None) -> None:
    """Raise PADNetError for what no model can be exported to, before one is loaded."""
    if format not in FORMATS:
        raise PADNetError(
            f"the format is {format!r}, but must be one of {', '.join(FORMATS)} (the command: or transformers)."
        )
    if quantize not in _TOLERANCE:
        raise PADNetError(f"quantize is {quantize!r}, but must be 'int8', or left out for weights as they are.")
    check_new(target)
    if format != "torch":
        check_opset(opset)
        check_installed()
    if quantize and (format != "onnx" or opset < OPSET):
        given = f"opset {opset}" if format == "onnx" else f"format {format!r}"
        raise PADNetError(f"int8 weights need the format 'onnx' with opset {OPSET} or newer, not {given}.")


def _check_model(model: PreTrainedModel) -> None:
    if model.training:
        raise PADNetError(
            "the model is in training mode: its graph would drop values and draw noise; call model.eval() first."
        )
    if model.dtype != torch.float32 or model.device.type != "cpu":
        raise PADNetError(
            f"the model is {model.dtype} on {model.device.type!r}, but only float32 on a CPU is exported and checked: "
            "call model.float().cpu() first."
        )


def _write_onnx(model: PreTrainedModel, path: Path, opset: int, int8: str | None) -> Callable[..., dict[str, Tensor]]:
    program, outputs = exported_program(model)
    graph = onnx_model(program, list(random_inputs(model, 1, 1)), outputs, opset)
    if int8:
        quantize(graph.graph)
    save(graph, path)
    return OnnxRunner(path)


def _write_torch(model: PreTrainedModel, path: Path) -> Callable[..., dict[str, Tensor]]:
    program, _ = exported_program(model)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # with the paths of this machine
    torch.export.save(program, path)
    return torch.export.load(path).module()


@torch.no_grad()
def _compare(
    model: PreTrainedModel, run: Callable[..., dict[str, Tensor]], quantize: str | None
) -> tuple[float, float]:
    """The largest difference, and the largest output. PADNetError if most batches differ by more than rounding."""
    differences, largest = [], 0.0
    for seed, (batch, length) in enumerate(_SHAPES):
        inputs = _checked_with(model, batch, length, seed)
        expected, found = model(**inputs, return_dict=True), run(**inputs)
        mask = inputs.get("attention_mask")
        pairs = [
            (_of_tokens(value, mask), _of_tokens(found[name], mask)) for name, value in named_tensors(expected).items()
        ]
        differences.append(max(float((one - other).abs().max()) for one, other in pairs))
        largest = max(largest, *(float(one.abs().max()) for one, _ in pairs))
    if not median(differences) <= _TOLERANCE[quantize] * largest:  # one token between two experts may go either way
        raise PADNetError(
            f"the exported graph gives other values than the model (difference {max(differences):.1e}, outputs up to "
            f"{largest:.1e}), nothing was written: export with the tested versions of torch, onnxscript and "
            "onnxruntime (constraints.txt)."
        )
    return max(differences), largest


def _of_tokens(values: Tensor, mask: Tensor | None) -> Tensor:
    """What an output says of real tokens: padding that sees nothing, in a sliding window, may get anything."""
    is_by_token = mask is not None and values.shape[: mask.dim()] == mask.shape
    return values[mask.bool()] if is_by_token else values


def _checked_with(model: PreTrainedModel, batch: int, length: int, seed: int) -> Inputs:
    if takes_text(model):
        length = min(length, longest_input(model))
    return random_inputs(model, batch, length, seed)
