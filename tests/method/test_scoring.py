from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.method.criteria import criterion_named
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.scoring import no_trace, score_parameters
from padnet_hf.method.weight import PADWeight
from tests.method.toy import ToyModel, toy_batches

SNIP = criterion_named("snip")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _weights(model: ToyModel) -> list[PADWeight]:
    return list(pad_weights(model).values())


def _scores(model: ToyModel, batches: list[dict[str, Tensor]], **options: Callable[..., object]) -> list[Tensor]:
    scored = [weight.dynamic for weight in _weights(model)]
    with no_trace(model, scored):
        return score_parameters(model, scored, batches, SNIP, _generator(), **options)


def test_scores_are_the_gradients_of_an_explicit_relaxed_mask() -> None:
    model, batches = ToyModel(), toy_batches(3)
    scores = _scores(model, batches)
    names = list(pad_weights(model))
    masks = [torch.ones(weight.shape, dtype=torch.float64, requires_grad=True) for weight in _weights(model)]
    relaxed = list(zip(names, masks, strict=True))
    model.eval()
    loss = 0
    for batch in batches:
        masked = {f"{name}.dynamic": mask * model.get_parameter(f"{name}.dynamic") for name, mask in relaxed}
        loss = loss + torch.func.functional_call(model, masked, kwargs=batch)["loss"]
    expected = torch.autograd.grad(loss, masks)
    for score, gradient in zip(scores, expected, strict=True):
        assert score.dtype == torch.float32
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(score.double(), gradient, rtol=1e-5, atol=1e-6)


def test_scores_are_summed_over_batches() -> None:
    model, batches = ToyModel(), toy_batches(2)
    together, one, other = _scores(model, batches), _scores(model, batches[:1]), _scores(model, batches[1:])
    for total, first, second in zip(together, one, other, strict=True):
        torch.testing.assert_close(total, first + second, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(first, second, atol=1e-4)


def test_contributions_are_reduced_batch_by_batch() -> None:
    model, batches = ToyModel(), toy_batches(2)
    reduced = _scores(model, batches, reduce=lambda number, contribution: contribution.sum())
    for total, contribution in zip(reduced, _scores(model, batches), strict=True):
        torch.testing.assert_close(total, contribution.sum(), rtol=1e-5, atol=1e-5)


def test_no_gradient_outlives_its_backward_pass() -> None:
    model = ToyModel()
    left: list[int] = []
    _scores(model, toy_batches(2), on_batch=lambda: left.append(sum(p.grad is not None for p in model.parameters())))
    assert left == [0, 0]


def test_only_weights_to_be_scored_get_gradients_and_the_model_is_in_evaluation_mode() -> None:
    model = ToyModel()
    scored = [_weights(model)[0].dynamic]
    with no_trace(model, scored):
        assert [p for p in model.parameters() if p.requires_grad] == scored
        assert not any(module.training for module in model.modules())


def test_hooks_are_removed_also_after_an_error() -> None:
    model, batches = ToyModel(), toy_batches(1)
    _scores(model, batches)
    batches[0]["hidden"] = batches[0]["hidden"] * torch.nan
    with pytest.raises(PADNetError):
        _scores(model, batches)
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())


class _InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return gradient * torch.inf


def test_gradients_that_are_not_finite_are_refused_though_the_loss_is_finite() -> None:
    model = ToyModel()
    model.layers[1].register_forward_hook(lambda module, inputs, output: _InfiniteGradient.apply(output))
    with pytest.raises(PADNetError, match="not finite, though the losses are"):
        _scores(model, toy_batches(1))
