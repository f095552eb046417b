"""What a method does beyond the options of the scripts: pruning, scale factors, learning rates."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import Trainer

from padnet_hf.method.layer import pad_layers, pad_weights
from padnet_hf.method.report import Size, report
from padnet_hf.method.weight import PADWeight
from studies.cell.settings import Cell


def after_partition(model: nn.Module, cell: Cell) -> None:
    """Prune, or hold scale factors, before the optimizer exists."""
    for weight in pad_weights(model).values():
        if cell.method == "prune":
            prune(weight)
        elif weight.phi is not None and cell.scales != "learned":
            hold_scales(weight, cell.scales)


@torch.no_grad()
def prune(weight: PADWeight) -> None:
    """The static part zero, for good; what is left is not scaled."""
    if weight.static is not None:
        weight.static.zero_().requires_grad_(False)
    if weight.phi is not None:
        weight.phi.requires_grad_(False)


def hold_scales(weight: PADWeight, learned: str) -> None:
    """Scale factors of which "fixed" learns none, "dynamic" lambda_d alone, "static" lambda_s alone; the rest are 1."""
    if learned == "fixed":
        weight.phi.requires_grad_(False)
        return
    both = weight.scales

    def scales() -> tuple[Tensor, Tensor]:
        scale_dynamic, scale_static = both()
        one = torch.ones_like(scale_dynamic)
        return (scale_dynamic, one) if learned == "dynamic" else (one, scale_static)

    weight.scales = scales


def stored_size(model: nn.Module, cell: Cell) -> Size:
    """Parameters and bytes of what has to be stored; zeros need not be, nor the scale factors of what is pruned."""
    size = report(model).current
    if cell.method != "prune":
        return size
    idle = [t for weight in pad_weights(model).values() for t in (weight.static, weight.phi) if t is not None]
    numbers, num_bytes = sum(t.numel() for t in idle), sum(t.numel() * t.element_size() for t in idle)
    return Size(size.parameters - numbers, size.bytes - num_bytes, size.multiply_adds)


def set_learning_rates(trainer: Trainer, cell: Cell) -> None:
    """Make the optimizer, with groups of their own for parameters whose learning rate is another multiple."""
    factors = {"expert": cell.expert_lr, "router": cell.router_lr, "phi": cell.phi_lr}
    if all(factor == 1 for factor in factors.values()):
        return
    factor_of = {parameter: factors[kind] for kind, parameter in _kinds(trainer.model)}
    optimizer = trainer.create_optimizer()
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    for group in groups:
        by_factor: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_factor.setdefault(factor_of.get(parameter, 1.0), []).append(parameter)
        for factor, parameters in by_factor.items():
            optimizer.add_param_group({**group, "params": parameters, "lr": group["lr"] * factor})


def _kinds(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters of dynamic layers with what they are: "expert", "phi", or "router" for all that routes or mixes."""
    for layer in pad_layers(model).values():
        of_weights = [item for weight in pad_weights(layer).values() for item in weight.named_parameters()]
        yield from (("phi" if name == "phi" else "expert", parameter) for name, parameter in of_weights)
        known = {parameter for _, parameter in of_weights}
        yield from (("router", parameter) for parameter in layer.parameters() if parameter not in known)
