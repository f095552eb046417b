"""Batch norms folded into the convolutions before them.

gamma (W * x - mean) / std + beta = (gamma / std) W * x + (beta - gamma mean / std): a factor for every output channel
of W, which static and dynamic parts take alike, and a shift.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from padnet_hf.layers.dynamic_conv import PADDynamicConv2d
from padnet_hf.method.weight import PADWeight


def drop_norms(model: nn.Module) -> None:
    """Give a new model the form of a fused one: shifts in place of batch norms, their values still to be filled in."""
    for layer in list(_layers(model)):
        _add_shift(layer, layer.normalization.bias.detach())


def fold_norms(model: nn.Module) -> None:
    """Fold every batch norm of `model` into its convolution, in place."""
    for layer in list(_layers(model)):
        norm, conv = layer.normalization, layer.convolution
        factors = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        if isinstance(conv, PADDynamicConv2d):
            conv.weight.scale_units(factors)
        else:
            conv.weight.mul_(factors.view(-1, 1, 1, 1))
        _add_shift(layer, norm.bias - norm.running_mean * factors)


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that hold a convolution without bias and the batch norm that follows it, by transformers' names."""
    for module in model.modules():
        conv, norm = getattr(module, "convolution", None), getattr(module, "normalization", None)
        if isinstance(conv, nn.Conv2d | PADDynamicConv2d) and isinstance(norm, nn.BatchNorm2d) and conv.bias is None:
            yield module


def _add_shift(layer: nn.Module, shift: Tensor) -> None:
    conv = layer.convolution
    if isinstance(conv, PADDynamicConv2d):
        conv.bias = PADWeight(conv.weight.num_copies, tuple(shift.shape), unit_dim=0)
        conv.bias.become({"static": shift.clone()}, conv.weight.granularity)
    else:
        conv.bias = nn.Parameter(shift.clone())
    layer.normalization = nn.Identity()
