"""What `padnet families` says: read off the declarations, nothing is stated twice."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.registry import families

_ENDINGS = ("AutoModelFor", "AutoModel", "Auto")


def described() -> list[dict[str, Any]]:
    """Every family by its dense model type: seam, heads, plans for several devices, what adapters reach."""
    return [_described(dense, config) for dense, config in families().items()]


def _described(dense: str, config: type[PADConfigMixin]) -> dict[str, Any]:
    has_experts = config.copies == "experts"
    default = config()
    plans = {"tensor parallel": bool(default.base_model_tp_plan), "expert parallel": bool(default.base_model_ep_plan)}
    return {
        "family": dense,
        "model_type": config.model_type,
        "seam": config.seam.describe(),
        "copies": config.copies,
        "heads": [_ending(auto_class) for auto_class in config.models if auto_class != "AutoModel"],
        "plans": [name for name, there in plans.items() if there],
        "adapters": ["attention", "experts (by unit)", "router"] if has_experts else ["head"],
        "export": ["onnx", "torch"],
    }


def _ending(auto_class: str) -> str:
    """AutoModelForMaskedLM -> MaskedLM, AutoBackbone -> Backbone."""
    return next(auto_class.removeprefix(start) for start in _ENDINGS if auto_class.startswith(start))


def table(found: list[dict[str, Any]]) -> Table:
    """The same for a terminal."""
    drawn = Table(box=SIMPLE_HEAD)
    for heading in ("family", "dynamic are", "heads", "plans", "LoRA on", "export"):
        drawn.add_column(heading, overflow="fold")
    for row in found:
        cells = ("\n".join(row[key]) or "-" for key in ("heads", "plans", "adapters", "export"))
        drawn.add_row(row["family"], row["seam"], *cells)
    return drawn
