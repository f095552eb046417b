"""What a cell does, on a BERT of two narrow layers."""

from pathlib import Path

import pytest
import torch

from padnet_hf.method.layer import pad_weights
from studies.cell import experiment
from studies.cell.settings import Cell
from tests.studies.conftest import tiny_cell

pytestmark = pytest.mark.usefixtures("_tiny_model")

PAD = {"ratio": 0.5, "rounds": 1}


def trained(cell: Cell, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, torch.nn.Module]:
    """The row and the model that it is of."""
    models = []
    monkeypatch.setattr(
        experiment,
        "stored_size",
        lambda model, cell, size=experiment.stored_size: models.append(model) or size(model, cell),
    )
    return experiment.run(cell, data_dir), models[0]


METHODS = [
    tiny_cell("dense"),
    tiny_cell("dynamic"),
    tiny_cell("dynamic", warm_share=0.5, router_lr=10.0, expert_lr=0.5, moe_layers=(1,)),
    tiny_cell("pad", **PAD, granularity="unit"),
    tiny_cell("pad", **PAD, scales="dynamic"),
    tiny_cell("experts", ratio=0.5),
]


def test_every_network_sees_the_same_data_in_the_same_order(data_dir: Path) -> None:
    found = {cell: experiment.run(cell, data_dir) for cell in METHODS}
    assert len({row["data_order"] for cell, row in found.items() if not cell.warm_share}) == 1
    assert experiment.run(tiny_cell("dense", seed=2), data_dir)["data_order"] != found[METHODS[0]]["data_order"]
    for cell, row in found.items():
        assert {"accuracy", "f1", "combined_score", "loss"} == set(row["metrics"])
        assert len(row["train_losses"]) == cell.epochs * (1 - cell.warm_share)
        assert row["processor_seconds"] > 0


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_what_is_pruned_stays_zero_and_is_not_stored(
    granularity: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pad, _ = trained(tiny_cell("pad", **PAD, granularity=granularity), data_dir, monkeypatch)
    row, model = trained(tiny_cell("prune", **PAD, granularity=granularity), data_dir, monkeypatch)
    static = [weight.static for weight in pad_weights(model).values() if weight.static is not None]
    scales = [weight.phi for weight in pad_weights(model).values() if weight.phi is not None]
    assert static
    assert not any(values.any() for values in static)
    assert all(scale == 0 for scale in scales)
    idle = sum(values.numel() for values in (*static, *scales))
    assert (pad["parameters"] - row["parameters"], pad["bytes"] - row["bytes"]) == (idle, 4 * idle)
    assert row["layer_ratios"] == pad["layer_ratios"]


@pytest.mark.parametrize(
    ("learned", "moves"),
    [("learned", (True, True)), ("fixed", (False, False)), ("dynamic", (True, False)), ("static", (False, True))],
)
@pytest.mark.parametrize("granularity", ["element", pytest.param("unit", marks=pytest.mark.thorough)])
def test_only_the_scale_factors_asked_for_are_learned(
    learned: str, moves: tuple[bool, bool], granularity: str, data_dir: Path
) -> None:
    row = experiment.run(tiny_cell("pad", **PAD, granularity=granularity, scales=learned), data_dir)
    for place, moved in enumerate(moves):
        assert any(pair[place] != 1 for pair in row["scales"].values()) == moved


def test_a_learning_rate_of_zero_stops_what_it_is_for(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    still, model = trained(tiny_cell("pad", **PAD, phi_lr=0.0, router_lr=0.0), data_dir, monkeypatch)
    assert all(pair == (1, 1) for pair in still["scales"].values())
    routers = {name: value for name, value in model.named_parameters() if "router" in name}
    assert routers
    assert not any(value.any() for value in routers.values())  # they start at zero
    _, model = trained(tiny_cell("pad", **PAD, phi_lr=0.0), data_dir, monkeypatch)
    assert any(value.any() for name, value in model.named_parameters() if "router" in name)


def test_experts_least_used_go(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = trained(tiny_cell("dynamic"), data_dir, monkeypatch)
    row, model = trained(tiny_cell("experts_used", ratio=0.5), data_dir, monkeypatch)
    fewer, _ = trained(tiny_cell("experts", ratio=0.5), data_dir, monkeypatch)
    assert row["bytes"] == fewer["bytes"] < whole["bytes"]
    assert row["train_losses"] == whole["train_losses"]
    assert all(len(shares) == 5 for shares in row["usage"].values())
    assert {len(weight.dynamic) for weight in pad_weights(model).values()} == {5}


def test_a_cell_is_repeatable(data_dir: Path) -> None:
    first, second = (experiment.run(tiny_cell("pad", **PAD), data_dir) for _ in range(2))
    assert {**first, "processor_seconds": 0} == {**second, "processor_seconds": 0}
