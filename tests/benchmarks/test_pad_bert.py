import copy

import pytest
import torch

from benchmarks.layers import TransformersExperts, use_transformers_code
from benchmarks.pad_bert import BASELINE, DENSE, ELEMENT, OURS, QUICK, UNIT, VARIANTS, Shape, build, sentences
from padnet_hf.layers.experts import PADExperts

SHAPE = QUICK.shape


def test_the_baseline_gives_the_logits_of_our_fully_dynamic_model() -> None:
    torch.manual_seed(0)
    ours = build(OURS, SHAPE).eval()
    theirs = copy.deepcopy(ours)
    theirs.set_experts_implementation("grouped_mm")
    use_transformers_code(theirs)
    assert {type(module) for module in theirs.modules() if isinstance(module, PADExperts)} == {TransformersExperts}
    inputs = sentences(3, QUICK)
    with torch.no_grad():
        torch.testing.assert_close(theirs(**inputs).logits, ours(**inputs).logits)


def test_all_variants_attend_in_the_same_way_and_only_ours_has_our_experts() -> None:
    models = {name: build(name, SHAPE) for name in VARIANTS}
    assert len({model.config._attn_implementation for model in models.values()}) == 1
    assert models[BASELINE].config._experts_implementation == "grouped_mm"
    experts = {name: {type(m) for m in model.modules() if isinstance(m, PADExperts)} for name, model in models.items()}
    assert experts[DENSE] == set()
    assert experts[BASELINE] == {TransformersExperts}
    assert experts[OURS] == experts[UNIT] == experts[ELEMENT] == {PADExperts}


@pytest.mark.parametrize("variant", [UNIT, ELEMENT])
def test_the_partitions_of_bert_base_have_half_of_the_elements_dynamic(variant: str) -> None:
    with torch.device("meta"):
        report = build(variant, Shape()).partition_report()
    assert report.dynamic_ratio == pytest.approx(0.5, abs=0.001)
    assert report.current.parameters == pytest.approx(308e6, rel=0.01)
