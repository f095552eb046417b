"""Other ways to make experts smaller, against networks that are made smaller, and against loops."""

import copy

import pytest
import torch
from torch import nn

from padnet_hf.method.layer import pad_weights
from padnet_hf.models.pad_model import PADModelMixin
from studies.cell.experts import keep_most_used, routed_layers
from studies.late import rivals
from studies.late.measures import recover
from studies.late.statistics import Statistics, gathered
from tests.models.samples import inputs_of, labels_of, set_apart, small_pad


@pytest.fixture
def model() -> PADModelMixin:
    """4 experts, 2 of them for a token."""
    return set_apart(small_pad("bert", "AutoModelForSequenceClassification")).eval()


@pytest.fixture
def batches(model: PADModelMixin) -> list[dict]:
    inputs = inputs_of(model)
    return [inputs | labels_of(model, inputs)] * 2


@pytest.fixture
def found(model: PADModelMixin, batches: list[dict]) -> Statistics:
    return gathered(model, batches)


@torch.no_grad()
def logits(model: nn.Module, batches: list[dict]) -> torch.Tensor:
    return model(**batches[0]).logits


def test_statistics_equal_a_loop_over_tokens(model: PADModelMixin, batches: list[dict], found: Statistics) -> None:
    seen = {}
    layers = routed_layers(model)
    hooks = [
        layer.router.register_forward_hook(
            lambda _, inputs, routing, name=name: seen.update({name: (inputs[0], routing)})
        )
        for name, layer in layers.items()
    ]
    logits(model, batches)
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        hidden, routing = seen[name]
        usage, norms = torch.zeros(4, dtype=torch.float64), [[] for _ in range(4)]
        up, up_bias, down, down_bias = (weight.dynamic for weight in layer.experts.weights)
        counts = batches[0]["attention_mask"].flatten().bool()
        passed = zip(hidden[counts], routing.index[counts].tolist(), routing.weights[counts], strict=True)
        for token, chosen, gates in passed:
            for expert, gate in zip(chosen, gates, strict=True):
                inner = layer.experts.act_fn(up[expert] @ token + up_bias[expert])
                usage[expert] += gate.detach()
                norms[expert].append((gate * (down[expert] @ inner + down_bias[expert]).norm()).item())
        torch.testing.assert_close(found.usage[name], 2 * usage)  # two batches
        for expert, values in enumerate(norms):
            assert found.saliency[name][expert].item() == pytest.approx(sum(values) / max(len(values), 1), rel=1e-5)
        cosine = torch.cosine_similarity(*routing.logits[counts, :2].T, dim=0)
        assert found.likeness[name][0, 1].item() == pytest.approx(cosine.item(), abs=1e-5)


def test_dropping_by_usage_gives_the_answers_of_the_network_that_has_fewer_experts(
    model: PADModelMixin, batches: list[dict]
) -> None:
    whole = [{name: value for name, value in batch.items() if name != "attention_mask"} for batch in batches]
    found, smaller = gathered(model, whole), copy.deepcopy(model)  # there it counts padding
    keep_most_used(smaller, whole, 3)
    assert rivals.drop(model, found, 0.6, by="usage", over_all=False) == 3 / 4  # of 2.8, to the nearest
    torch.testing.assert_close(logits(model, batches), logits(smaller, batches))


@pytest.mark.parametrize("by", ["usage", "saliency"])
def test_dropping_over_all_layers_leaves_every_layer_what_a_token_needs(
    model: PADModelMixin, found: Statistics, by: str
) -> None:
    layers = routed_layers(model)
    kept = [len(of.flatten()) for of in (getattr(found, by)[name] for name in layers)]
    getattr(found, by)[next(iter(layers))].mul_(1e-6)  # the first layer's are the least
    share = rivals.drop(model, found, 0.5, by=by, over_all=True)
    assert share == pytest.approx(round(len(layers) * 2.5) / sum(kept))
    gone = [next(iter(layer.router._forward_hooks.values()))._gone for layer in layers.values()]
    assert [int((~of).sum()) for of in gone] == [2, 3]


@pytest.mark.parametrize("by", ["usage", "fisher"])
def test_merged_experts_are_the_average_of_their_group_and_stay_one_in_training(
    model: PADModelMixin, batches: list[dict], found: Statistics, by: str
) -> None:
    before = copy.deepcopy(model)
    assert rivals.merge(model, found, 0.1, by=by) == 1 / 4  # 1.3 copies: all become one
    for (name, weight), (_, old) in zip(pad_weights(model).items(), pad_weights(before).items(), strict=True):
        shares = [old.layout.along_units(of) for of in found.shares[by][name]]
        average = sum(copy * share for copy, share in zip(old.dynamic, shares, strict=True))
        torch.testing.assert_close(weight.dynamic, average.expand_as(weight.dynamic))
    recover(model, batches, 1e-2)
    for weight, old in zip(pad_weights(model).values(), pad_weights(before).values(), strict=True):
        assert all(torch.equal(copy, weight.dynamic[0]) for copy in weight.dynamic)
        assert not torch.equal(weight.dynamic, old.dynamic)


def test_experts_are_merged_into_the_one_the_router_treats_most_alike(model: PADModelMixin, found: Statistics) -> None:
    name, layer = next(iter(routed_layers(model).items()))
    found.usage[name].copy_(torch.tensor([5.0, 1.0, 4.0, 1.0]))
    found.likeness[name][1, :] = torch.tensor([0.1, 1.0, 0.9, 0.0])
    found.likeness[name][3, :] = torch.tensor([0.8, 0.9, 0.1, 1.0])
    assert rivals.merge(model, found, 0.3, by="usage") == 2 / 4
    copies = layer.experts.weights.up.dynamic
    assert [torch.equal(copies[a], copies[b]) for a, b in ((1, 2), (3, 0), (0, 2))] == [True, True, False]


def test_low_rank_is_exact_with_all_ranks_and_stores_no_more_than_a_partition(
    model: PADModelMixin, batches: list[dict]
) -> None:
    before, errors = copy.deepcopy(model), []
    for ratio in (0.2, 0.5, 8.0):
        model = copy.deepcopy(before)
        share = rivals.low_rank(model, ratio)
        pairs = zip(pad_weights(model).values(), pad_weights(before).values(), strict=True)
        errors.append(sum((one.dynamic - other.dynamic).square().sum().item() for one, other in pairs))
        biases = sum(w.dynamic.numel() for w in pad_weights(model).values() if len(w.shape) == 1)
        numbers = sum(w.dynamic.numel() for w in pad_weights(model).values())
        assert share <= (4 * ratio + 1 - ratio) / 4 + biases / numbers
    assert errors[0] > errors[1] > errors[2]
    torch.testing.assert_close(logits(model, batches), logits(before, batches), rtol=1e-4, atol=1e-4)


def test_each_expert_is_pruned_to_the_bytes_of_a_partition(model: PADModelMixin, batches: list[dict]) -> None:
    before = copy.deepcopy(model)
    assert rivals.prune_each(model, batches, 0.5) == 2.5 / 4
    for weight, old in zip(pad_weights(model).values(), pad_weights(before).values(), strict=True):
        values = weight.build()
        assert torch.equal(values, torch.where(values == 0, values, old.dynamic))
    numbers = sum(old.dynamic.numel() for old in pad_weights(before).values())
    left = sum(int((weight.build() != 0).sum()) for weight in pad_weights(model).values())
    assert left / numbers == pytest.approx(2.5 / 4 - 1 / 32, abs=0.02)  # bits say where they are
