"""Where dynamic layers are put into transformers' own models: a declaration of dotted paths, and what carries it out.

A seam is found in a model as it was built, checked, and then replaced. It knows layers, and no family.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from torch import nn

from padnet_hf.errors import PADNetError
from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.layers.feed_forward import PADFeedForward


class Seam(ABC):
    """What becomes dynamic in the bare models of a family.

    Attributes:
        has_copies: whether the stock model has every copy, as a trained mixture does; elsewhere its weights are copied.
    """

    has_copies: ClassVar[bool] = False

    @abstractmethod
    def describe(self) -> str:
        """In a few words, for `padnet families`."""

    @abstractmethod
    def sources(self, name: str) -> dict[str, tuple[str, ...]]:
        """For every weight of a PAD layer of this name, the names of the dense weights that stand one below the other
        in each of its copies: gates and up projection are two, where the dense model has them apart."""


@dataclass(frozen=True)
class FeedForward(Seam):
    """Feed-forward networks, one in every layer of a transformer: up, activation, down, perhaps with gates.

    Without gates a PAD layer takes the place of the up projection, and identities those of activation and down
    projection: whatever else the stock layer does around them stays. With gates it takes the place of the whole module.

    Attributes:
        layers: path of the modules that hold the networks, within the bare model; * stands for one part of it.
        up, down: paths of the two nn.Linear, within that.
        activation: path of the activation.
        gate: path of the gates' nn.Linear; the same as `up` where one nn.Linear is both, the gates' rows first.
        dropout: path of an nn.Dropout on the inner activations of a gated network, if it has one.
        tp_plan: transformers' tensor-parallel plan of all that stays as it is.
    """

    layers: str
    up: str
    down: str
    activation: str
    gate: str | None = None
    dropout: str | None = None
    tp_plan: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_shared(self) -> bool:
        """Whether the layers cannot be told apart by one number each."""
        return self.layers.count("*") != 1

    @property
    def place(self) -> str:
        """Path of the PAD layers, with * as in `layers`."""
        return self.layers if self.gate else f"{self.layers}.{self.up}"

    def describe(self) -> str:
        return f"{self.place} ({'gated ' if self.gate else ''}feed-forward networks)"

    def find(self, base: nn.Module) -> dict[str, nn.Module]:
        """The modules that hold the networks, by name. Raises PADNetError if there are none, or they do not fit."""
        pattern = re.compile(re.escape(self.layers).replace(r"\*", r"[^.]+"))
        found = {name: module for name, module in base.named_modules() if pattern.fullmatch(name)}
        if not found:
            near = [name for name, module in base.named_modules() if isinstance(module, nn.Linear)][:3]
            raise PADNetError(
                f"the seam's path {self.layers!r} matches no module of {type(base).__name__}; its linear layers are "
                f"called {', '.join(map(repr, near)) or 'nothing: it has none'}, for instance. Correct the declaration."
            )
        shapes = {name: self._shape(name, module) for name, module in found.items()}
        if len(set(shapes.values())) > 1:
            first, other = next(iter(shapes)), next(n for n, s in shapes.items() if s != next(iter(shapes.values())))
            raise PADNetError(
                f"the seam's path {self.layers!r} matches networks of different sizes, {first} of {shapes[first]} and "
                f"{other} of {shapes[other]} (inner, hidden, biases): declare networks that are alike."
            )
        return found

    def _shape(self, name: str, holder: nn.Module) -> tuple[int, int, bool]:
        """Inner and hidden size, and whether there are biases."""
        linears = {path: self._linear(name, holder, path) for path in (self.up, self.down, self.gate) if path}
        up, down = linears[self.up], linears[self.down]
        inner, hidden = down.in_features, down.out_features
        rows = 2 * inner if self.gate == self.up else inner
        if (up.out_features, up.in_features) != (rows, hidden):
            raise PADNetError(
                f"{name}.{self.up} is {up.out_features} x {up.in_features} and {name}.{self.down} {hidden} x {inner}, "
                f"but a {'gated ' if self.gate else ''}network with this down projection has an up projection of "
                f"{rows} x {hidden}: correct the declaration."
            )
        biases = {path: linear.bias is not None for path, linear in linears.items()}
        if len(set(biases.values())) > 1:
            raise PADNetError(
                f"of {name}'s linear layers only {', '.join(path for path, has in biases.items() if has)} has a bias, "
                "but experts have biases in all of them or in none: no PAD layer can take their place."
            )
        return inner, hidden, biases[self.up]

    @staticmethod
    def _linear(name: str, holder: nn.Module, path: str) -> nn.Linear:
        try:
            found = holder.get_submodule(path)
        except AttributeError:
            found = None
        if not isinstance(found, nn.Linear):
            what = "there is nothing of this name" if found is None else f"it is a {type(found).__name__}"
            inside = [key for key, module in holder.named_modules() if isinstance(module, nn.Linear)]
            raise PADNetError(
                f"the seam expects an nn.Linear at {name}.{path}, but {what}; the linear layers of {name} are "
                f"{', '.join(map(repr, inside)) or 'none'}. Correct the declaration."
            )
        return found

    def replace(self, base: nn.Module, layers: Sequence[int] | None, *, dropout: float, **options: Any) -> None:
        """Put PAD layers, with these options, into `base`: into the networks of these numbers, or into all."""
        for number, (name, holder) in enumerate(self.find(base).items()):
            if layers is not None and number not in layers:
                continue
            inner, hidden, bias = self._shape(name, holder)
            own = holder.get_submodule(self.dropout).p if self.dropout else 0.0
            layer = PADFeedForward(
                hidden,
                inner,
                holder.get_submodule(self.activation),
                gated=self.gate is not None,
                bias=bias,
                dropout=dropout or own,
                **options,
            ).train(holder.training)
            if self.gate:
                base.set_submodule(name, layer)
                continue
            holder.set_submodule(self.up, layer)
            for path in (self.activation, self.down):
                holder.set_submodule(path, nn.Identity())

    def sources(self, name: str) -> dict[str, tuple[str, ...]]:
        holder = name if self.gate else name.removesuffix(f".{self.up}")
        first = list(dict.fromkeys(path for path in (self.gate, self.up) if path))
        weights = {"gate_up_proj" if self.gate else "up_proj": first, "down_proj": [self.down]}
        return {
            f"{name}.experts.{own}{suffix}": tuple(f"{holder}.{path}.{kind}" for path in paths)
            for own, paths in weights.items()
            for suffix, kind in (("", "weight"), ("_bias", "bias"))
        }


@dataclass(frozen=True)
class Convolutions(Seam):
    """Convolutions, each of which becomes a dynamic one.

    Attributes:
        names: those that are dynamic by default, within the bare model, with * and ? as in file names.
    """

    names: tuple[str, ...]

    def describe(self) -> str:
        return f"{', '.join(self.names)} (convolutions)"

    def replace(self, base: nn.Module, names: Sequence[str] | None, **kernels: Any) -> None:
        """Put dynamic convolutions into `base`, for those of these names or for the default ones."""
        make_dynamic(base, self.names if names is None else names, **kernels)

    def sources(self, name: str) -> dict[str, tuple[str, ...]]:
        return {f"{name}.{key}": (f"{name}.{key}",) for key in ("weight", "bias")}


def make_dynamic(model: nn.Module, names: Sequence[str], **kernels: Any) -> nn.Module:
    """Put a dynamic convolution with the same outputs in the place of every nn.Conv2d of these names, in place.

    The weight of each is copied into all its kernels; train and `partition` the model afterwards.

    Args:
        model: any module.
        names: of convolutions in it, with * and ? as in file names ("layer3.*").
        kernels: num_kernels, reduction, attention and temperature of `PADDynamicConv2d`.

    Returns:
        The model.

    Raises PADNetError if a name matches no convolution.
    """
    for name, plain in list(_chosen(model, names)):
        model.set_submodule(name, PADDynamicConv2d.from_conv2d(plain, **kernels))
    return model


def _chosen(model: nn.Module, names: Sequence[str]) -> Iterator[tuple[str, nn.Conv2d]]:
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in convolutions):
            known = list(convolutions)[:3]
            raise PADNetError(
                f"no convolution is called {pattern!r}, which is to become dynamic (dynamic_layers); names are for "
                f"instance {', '.join(known) or 'none: there are no convolutions'}, and * stands for any part of one."
            )
    return ((n, conv) for n, conv in convolutions.items() if any(fnmatchcase(n, pattern) for pattern in names))
