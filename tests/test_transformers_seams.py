"""docs/transformers.md names all that ties the package to transformers beyond what that documents."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedConfig, PreTrainedModel, Trainer
from transformers.distributed import DistributedConfig

import padnet_hf
from padnet_hf import PADBertModel, PADNetError, transformers_seams
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.pad_config import PADConfigMixin
from tests.models.samples import small_pad

ROOT = Path(padnet_hf.__file__).parent
LISTED = (ROOT.parent / "docs" / "transformers.md").read_text(encoding="utf-8")
ROWS = [line for line in LISTED.splitlines() if line.startswith("| ")]

DOCUMENTED = {"config_class", "from_dict", "from_pretrained", "save_pretrained", "push_to_hub"}
DOCUMENTED |= {"compute_loss", "create_model_card", "evaluation_loop"}
DOCUMENTED |= {"get_eval_dataloader", "get_test_dataloader", "prediction_step", "training_step"}
DOCUMENTED |= {"keys_to_ignore_at_inference"}
"""To be overridden or called, as transformers' documentation has it."""

INTERFACE = {"transformers", "transformers.activations", "transformers.configuration_utils", "transformers.distributed"}
INTERFACE |= {"transformers.modeling_outputs", "transformers.utils.logging"}
INTERFACE |= {"transformers.models.auto.configuration_auto"}
"""Modules that its documentation has, or whose names it has under "transformers" too."""

ALSO_DOCUMENTED = {"EvalLoopOutput", "TrainOutput", "TrainerState", "CONFIG_NAME", "is_matplotlib_available", "logging"}


def modules() -> Iterator[str]:
    found = pkgutil.walk_packages(padnet_hf.__path__, "padnet_hf.")
    return (module.name for module in found if ".families." not in module.name and ".serving" not in module.name)


def test_every_override_is_listed() -> None:
    overridden = set()
    for name in modules():
        module = importlib.import_module(name)
        for own in vars(module).values():
            if not isinstance(own, type) or own.__module__ != name:
                continue
            bases = [base for base in (PreTrainedModel, Trainer) if issubclass(own, base)]
            bases += [PreTrainedConfig] * (own in (PADConfigMixin, PADMoEConfig))
            overridden |= {
                (b.__name__, n) for b in bases for n in vars(own) if hasattr(b, n) and not n.startswith("__")
            }
    assert {("PreTrainedModel", "_load_pretrained_model"), ("Trainer", "_save_checkpoint")} <= overridden
    for base, name in overridden:
        is_listed = any(base in row.split("|")[1] and f"`{name}`" in row for row in ROWS)
        assert is_listed != (name in DOCUMENTED), f"{base}.{name}"


def test_every_import_from_within_is_listed() -> None:
    imported = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "transformers":
                imported |= {(node.module, alias.name) for alias in node.names}
    within = {pair for pair in imported if pair[0] not in INTERFACE and pair[1] not in ALSO_DOCUMENTED}
    within = {(module, name) for module, name in within if module.split(".")[1:2] != ["models"] or ".auto." in module}
    assert ("transformers.utils.output_capturing", "_CAN_RECORD_REGISTRY") in within
    for module, name in within:
        assert any(f"`{module}`" in row and f"`{name}`" in row for row in ROWS), f"from {module} import {name}"


def test_a_version_without_styles_refuses_to_spread_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transformers_seams, "HAS_PARALLEL_STYLES", False)
    small_pad("bert", "AutoModel").save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=r"cannot spread .* take no DistributedConfig: install transformers 5\.23"):
        PADBertModel.from_pretrained(tmp_path, distributed_config=DistributedConfig(tp_size=2))


def test_one_module_knows_versions() -> None:
    asking = ("transformers.__version__", "transformers import __version__", "HAS_PARALLEL_STYLES")
    found = {path.name for path in ROOT.rglob("*.py") if any(word in path.read_text("utf-8") for word in asking)}
    assert found == {"transformers_seams.py", "expert_parallel.py"}
