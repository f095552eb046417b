"""What `padnet families` says: read off the declarations, nothing is stated twice."""

from typing import Any

from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.registry import families

_ENDINGS = ("AutoModelFor", "AutoModel", "Auto")


def described() -> list[dict[str, Any]]:
    """Every family by its dense model type: seam, heads, plans for several devices, what adapters reach."""
    return [_described(dense, config) for dense, config in families().items()]


def _described(dense: str, config: type[PADConfigMixin]) -> dict[str, Any]:
    adapters = ["attention over kernels"]
    if config.copies == "experts":
        adapters = ["attention", "experts (by unit)", *([] if config.seam.has_copies else ["router"])]
    default = config()
    plans = {"tensor": default.base_model_tp_plan, "expert": default.base_model_ep_plan}
    return {
        "family": dense,
        "model_type": config.model_type,
        "seam": config.seam.describe(),
        "copies": config.copies,
        "heads": [_ending(auto_class) for auto_class in config.models if auto_class != "AutoModel"],
        "plans": [f"{name} parallel" for name, plan in plans.items() if plan],
        "adapters": adapters,
        "export": ["onnx", "torch"],
    }


def _ending(auto_class: str) -> str:
    """AutoModelForMaskedLM -> MaskedLM, AutoBackbone -> Backbone."""
    return next(auto_class.removeprefix(start) for start in _ENDINGS if auto_class.startswith(start))


def as_text(found: list[dict[str, Any]]) -> str:
    """The same for a terminal, three lines a family."""
    return "\n".join(
        f"{row['family']}: {row['copies']} at {row['seam']}\n"
        f"    heads: {', '.join(row['heads'])}\n"
        f"    plans: {', '.join(row['plans']) or 'none'}; LoRA: {', '.join(row['adapters']) or 'none'}; "
        f"export: {', '.join(row['export'])}"
        for row in found
    )
