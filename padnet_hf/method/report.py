"""PartitionReport: what is dynamic, and what it costs, before and after.

"dense" is the model with one copy of everything and no routing, "fully_dynamic" the one with E copies of every dynamic
layer, "current" the model as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from torch import Tensor, nn

from padnet_hf.method.layer import MultiplyAdds, PADLayer, pad_layers, pad_weights


@dataclass(frozen=True)
class Size:
    """What a layer or model takes.

    Attributes:
        parameters: number of parameters.
        bytes: of all stored tensors, masks included.
        multiply_adds: per token or per image (`PartitionReport.work_per`), in PAD layers, routing not counted; None
            where it is not known how often and on what size of inputs they are called.
    """

    parameters: int
    bytes: int
    multiply_adds: int | None

    def __add__(self, other: "Size") -> "Size":
        known = None not in (self.multiply_adds, other.multiply_adds)
        work = self.multiply_adds + other.multiply_adds if known else None
        return Size(self.parameters + other.parameters, self.bytes + other.bytes, work)

    def __sub__(self, other: "Size") -> "Size":
        work = None if other.multiply_adds is None else -other.multiply_adds
        return self + Size(-other.parameters, -other.bytes, work)


@dataclass(frozen=True)
class LayerReport:
    """One PAD layer: its dynamic ratio over elements, its sizes, and the ratio of each of its weights."""

    name: str
    dynamic_ratio: float
    dense: Size
    fully_dynamic: Size
    current: Size
    weights: dict[str, float]


@dataclass(frozen=True)
class PartitionReport:
    """Every PAD layer and the whole model.

    Attributes:
        layers: in the order of the model.
        dynamic_ratio: dynamic elements by elements, over all PAD layers.
        dense, fully_dynamic, current: the whole model, embeddings and head included.
        work_per: what multiply-adds are counted for, "token" or "image".
        record: how the partition was made (`PartitionConfig`, samples, mask hash), None if it was not.
    """

    layers: tuple[LayerReport, ...]
    dynamic_ratio: float
    dense: Size
    fully_dynamic: Size
    current: Size
    work_per: str = "token"
    record: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        width = max([len("whole model"), *(len(layer.name) for layer in self.layers)])
        work = f"multiply-adds per {self.work_per}"
        head = (
            f"{'layer':<{width}}  {'dynamic':>7}  {'parameters':>21}  {'MB':>17}  {work:>23}",
            f"{'':<{width}}  {'ratio':>7}  {'fully dynamic -> now':>21}  {'':>17}  {'':>23}",
        )
        rows = [
            f"{layer.name:<{width}}  {layer.dynamic_ratio:>7.3f}  {_change(layer.fully_dynamic, layer.current)}"
            for layer in self.layers
        ]
        rows.append(
            f"{'whole model':<{width}}  {self.dynamic_ratio:>7.3f}  {_change(self.fully_dynamic, self.current)}"
        )
        rows.append(f"{'  as dense':<{width}}  {'':>7}  {_change(None, self.dense)}")
        return "\n".join((*head, *rows))

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw the dynamic ratio of every layer and the model's size (PNG, PDF or SVG by suffix); needs matplotlib."""
        from padnet_hf.method.plot import draw

        draw(self, path)


def _change(before: Size | None, after: Size) -> str:
    def pair(first: str, second: str) -> str:
        return f"{first} -> {second}" if before else second

    parameters = pair(f"{before.parameters / 1e6:.2f}M" if before else "", f"{after.parameters / 1e6:.2f}M")
    megabytes = pair(f"{before.bytes / 1e6:.1f}" if before else "", f"{after.bytes / 1e6:.1f}")
    work = pair(_millions(before.multiply_adds) if before else "", _millions(after.multiply_adds))
    return f"{parameters:>21}  {megabytes:>17}  {work:>23}"


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.2f}M"


def report(
    model: nn.Module, record: Mapping[str, Any] | None = None, work: Mapping[str, MultiplyAdds] | None = None
) -> PartitionReport:
    """The report of a model as it is; works on the meta device, for sizes alone.

    Args:
        record: how it was partitioned.
        work: multiply-adds of the PAD layers by name (`count_work`); not known for those that are not in it.
    """
    work = work or {}
    layers = tuple(_layer_report(name, layer, work.get(name)) for name, layer in pad_layers(model).items())
    total = sum(layer.dense.parameters for layer in layers)
    dynamic = sum(weight.num_dynamic_elements for weight in pad_weights(model).values())
    # What a model saves must be there too: parameters once each (tied ones share), and persistent buffers.
    tensors = {id(t): t for t in model.state_dict(keep_vars=True).values()}.values()
    parameters = sum(p.numel() for p in model.parameters())
    around = Size(parameters, _num_bytes(tensors), 0)
    for layer in layers:
        around -= Size(layer.current.parameters, layer.current.bytes, 0)
    return PartitionReport(
        layers=layers,
        dynamic_ratio=dynamic / total if total else 0.0,
        dense=sum((layer.dense for layer in layers), around),
        fully_dynamic=sum((layer.fully_dynamic for layer in layers), around),
        current=sum((layer.current for layer in layers), around),
        work_per=next((layer.work_per for layer in pad_layers(model).values()), PADLayer.work_per),
        record=dict(record) if record else None,
    )


def _layer_report(name: str, layer: PADLayer, work: MultiplyAdds | None) -> LayerReport:
    weights = pad_weights(layer)
    dynamic = sum(weight.num_dynamic_elements for weight in weights.values())
    tensors = [tensor for weight in weights.values() for tensor in weight.state().values()]
    compact = {id(tensor) for tensor in tensors}
    routing = [parameter for parameter in layer.parameters() if id(parameter) not in compact]
    dense = Size(0, 0, work and work.dense)
    copies = Size(0, 0, work and work.fully_dynamic)
    for weight in weights.values():
        numel, num_bytes = weight.shape.numel(), weight.shape.numel() * weight.values.element_size()
        dense += Size(numel, num_bytes, 0)
        copies += Size(weight.num_copies * numel, weight.num_copies * num_bytes, 0)
    stored = sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
    routers = Size(sum(parameter.numel() for parameter in routing), _num_bytes(routing), 0)
    return LayerReport(
        name=name,
        dynamic_ratio=dynamic / dense.parameters,
        dense=dense,
        fully_dynamic=copies + routers,
        current=Size(stored, _num_bytes(tensors), work and work.current) + routers,
        weights={key: weight.num_dynamic_elements / weight.shape.numel() for key, weight in weights.items()},
    )


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
