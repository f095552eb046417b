"""A base and two adapters for it on the Hub: each adapter is small, names its base, and one line loads both."""

import json

import pytest

from tests.hub.simulated_hub import SimulatedHub

PUSH = """
import json
import torch
from peft import get_peft_model
from transformers import AutoModelForSequenceClassification
from padnet_hf import lora_config, sparsify_adapter
from tests.hub.cases import logits_of, make_batch, make_model, moved

make_model("bert-unit").push_to_hub("org/base")
told, batch = {}, make_batch("bert")
for name, sparsity in (("dense", 0), ("sparse", 0.8)):
    base = AutoModelForSequenceClassification.from_pretrained("org/base")
    model = get_peft_model(base, lora_config(base, rank=4))
    sparsify_adapter(model, [batch], sparsity=sparsity)
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            pruned = (parameter == 0) & parameter.signbit()
            parameter.data += 0.05 * torch.randn(parameter.shape) * ~pruned
    model.push_to_hub(f"org/{name}")
    told[name] = model.eval()(**batch).logits.tolist()
print(json.dumps(told))
"""
PULL = """
import json
import torch
import padnet_hf
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification
from tests.hub.cases import make_batch

told = {}
for name in ("dense", "sparse"):
    for way in (AutoModelForSequenceClassification, AutoPeftModelForSequenceClassification):
        with torch.no_grad():
            logits = way.from_pretrained(f"org/{name}").eval()(**make_batch("bert")).logits
        told.setdefault(name, []).append(logits.tolist())
print(json.dumps(told))
"""
KNOWN = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # as in pyproject.toml


@pytest.mark.slow
def test_pushed_adapters_load_with_their_base_in_one_line(hub: SimulatedHub) -> None:
    pushed = json.loads(hub.run(PUSH, token="writer-token", warnings=KNOWN).stdout.splitlines()[-1])
    for name in ("dense", "sparse"):
        files = hub.repositories.files(f"org/{name}")
        assert {"adapter_config.json", "adapter_model.safetensors"} <= set(files)
        assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "org/base"
        base = hub.repositories.files("org/base")["model.safetensors"]
        assert sum(map(len, files.values())) < len(base) / 4
    pulled = json.loads(hub.run(PULL, home=hub.home / "new", warnings=KNOWN).stdout.splitlines()[-1])
    assert pulled == {name: [logits, logits] for name, logits in pushed.items()}
    assert pushed["dense"] != pushed["sparse"]
