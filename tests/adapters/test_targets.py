from collections.abc import Callable
from pathlib import Path

import pytest
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForSequenceClassification

from padnet_hf import PADNetError, lora_config
from padnet_hf.adapters.targets import choose_targets, find_targets
from tests.hub.cases import make_dense, make_model


def _groups(case: str) -> set[str]:
    return {target.group for target in choose_targets(make_model(case), None)}


def test_by_default_everything_is_adapted_that_can_be() -> None:
    assert _groups("bert-unit") == _groups("bert-full") == {"attention", "experts", "router"}
    assert _groups("bert-element") == {"attention", "router"}
    assert {target.group for target in choose_targets(make_dense("bert"), None)} == {"attention", "feed_forward"}


def test_experts_are_their_projections_dynamic_and_static_in_every_layer() -> None:
    found = [t for t in find_targets(make_model("bert-unit")) if t.group == "experts"]
    assert {t.relative for t in found} == {
        f"intermediate.dense.experts.{name}.{part}"
        for name in ("up_proj", "down_proj")
        for part in ("dynamic", "static")
    }
    assert len(found) == 8
    assert all(64 in t.sizes for t in found)


def test_ends_of_names_are_taken_too() -> None:
    model = make_dense("bert")
    names = [target.name for target in choose_targets(model, ["query", "pooler.dense"])]
    assert names == [*(f"bert.encoder.layer.{n}.attention.self.query" for n in range(2)), "bert.pooler.dense"]


@pytest.mark.parametrize(
    ("targets", "count"),
    [(["feed_forward"], 4), (["attention"], 8), (["output.dense"], 4), (["query", "pooler.dense"], 3)],
)
def test_peft_adapts_exactly_what_was_chosen(targets: list[str], count: int) -> None:
    model = make_dense("bert")
    chosen = {target.name for target in choose_targets(model, targets)}
    adapted = get_peft_model(model, lora_config(model, rank=2, targets=targets))
    layers = adapted.get_base_model().named_modules()
    assert {name for name, layer in layers if isinstance(layer, BaseTunerLayer)} == chosen
    assert len(chosen) == count


def test_a_target_that_matches_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(PADNetError) as caught:
        lora_config(make_model("bert-unit"), targets=["attention", "q_proj"])
    for part in ("'q_proj' matches nothing", "attention, experts, router", "attention.self.query", "pooler.dense"):
        assert part in str(caught.value)
    with pytest.raises(PADNetError, match=r"groups \(attention, feed_forward\)"):
        lora_config(make_dense("bert"), targets=["experts"])


def test_packed_experts_are_refused_with_what_remains(saved: Callable[[str], Path]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(saved("bert-element"))
    with pytest.raises(PADNetError, match=r"packed, not matrices\. Leave the target 'experts' out"):
        lora_config(model, targets=["attention", "experts"])
