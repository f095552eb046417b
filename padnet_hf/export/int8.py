"""Weights of an ONNX graph as int8 with a scale for every block: a quarter of the bytes, and no calibration data.

Weight-only: activations stay float32, what runs the file turns weights back when it needs them (DequantizeLinear), or
once when it loads it. Packed values of an element partition have no rows or columns, but blocks like all others; so no
quantiser of modules or matrix products reaches them, nor experts, which are slices of one tensor.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

BLOCK = 64
"""Values that share a scale: 4 bytes of scale to 64 of values."""

_LEAST = 4096
"""Tensors with fewer values stay as they are: norms, biases, routers; together they are a thousandth of a model."""


def quantize_blocks(values: np.ndarray, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """values (..., N, ...) float32 -> int8 and scales (..., ceil(N / BLOCK), ...) float32; symmetric, up to 127.

    >>> quantize_blocks(np.array([0.5, -1.0, 0.25], dtype=np.float32))[0]
    array([  64, -127,   32], dtype=int8)
    """
    rows = np.moveaxis(values, axis, -1)
    length = rows.shape[-1]
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -length % BLOCK)])
    blocks = padded.reshape(*rows.shape[:-1], -1, BLOCK)
    largest = np.abs(blocks).max(axis=-1)
    scales = np.where(largest == 0, 1, largest / 127).astype(np.float32)
    rounded = np.rint(blocks / scales[..., None]).astype(np.int8).reshape(padded.shape)[..., :length]
    return np.moveaxis(rounded, -1, axis), np.moveaxis(scales, -1, axis)


def quantize(graph: "ir.Graph") -> None:
    """Make every large float32 weight of the graph int8, in place."""
    import onnx_ir as ir

    for weight in list(graph.initializers.values()):
        if weight.const_value.dtype == ir.DataType.FLOAT and weight.const_value.size >= _LEAST:
            _quantize(graph, weight)


def _quantize(graph: "ir.Graph", weight: "ir.Value") -> None:
    import onnx_ir as ir

    def before(node: ir.Node, operation: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        new = ir.node(operation, inputs, attributes)
        graph.insert_before(node, new)
        return new.outputs[0]

    whole_values = weight.const_value.numpy()
    sizes = whole_values.shape
    axis = len(sizes) - 1 if sizes[-1] >= BLOCK else int(np.argmax(sizes))  # not a convolution's columns
    values, scales = quantize_blocks(whole_values, axis)
    parts = []
    for suffix, array in (("int8", values), ("scale", scales)):
        part = ir.val(f"{weight.name}.{suffix}", const_value=ir.tensor(np.ascontiguousarray(array)))
        graph.register_initializer(part)
        parts.append(part)
    whole = None
    for node, index in list(weight.uses()):
        if _looks_up_rows(node, index, values.ndim) and axis == 1:  # only the rows that are asked for are turned back
            rows = [before(node, "Gather", [part, node.inputs[1]]) for part in parts]
            found = before(node, "DequantizeLinear", rows, axis=-1, block_size=BLOCK)
            node.outputs[0].replace_all_uses_with(found, replace_graph_outputs=True)
            graph.remove(node, safe=True)
            continue
        if whole is None:
            whole = before(graph[0], "DequantizeLinear", parts, axis=axis, block_size=BLOCK)
        node.replace_input_with(index, whole)
    del graph.initializers[weight.name]


def _looks_up_rows(node: "ir.Node", index: int, dimensions: int) -> bool:
    is_rows = "axis" not in node.attributes or node.attributes["axis"].as_int() == 0
    return node.op_type == "Gather" and index == 0 and dimensions == 2 and is_rows
