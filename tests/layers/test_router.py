import math

import pytest
import torch
from torch import Tensor

from padnet_hf.layers.router import NoisyTopKRouter, Routing, balance_loss, squared_variation

# Four tokens, three experts, two chosen. Logits without noise, logits with it, and its standard deviation.
LOGITS = [[1.0, 0.5, -1.0], [0.0, 2.0, 1.0], [0.3, -0.2, 0.1], [-1.0, 0.0, 1.5]]
NOISY = [[1.2, 0.1, -0.4], [0.6, 1.8, 0.2], [0.1, 0.4, 0.9], [-0.8, -0.5, 1.0]]
DEVIATION = [[0.5, 0.4, 0.6], [0.7, 0.3, 0.5], [0.4, 0.8, 0.9], [0.5, 0.5, 0.2]]


def _squared_variation_by_loop(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values) / mean**2


def _importance_by_loop(noisy: list[list[float]], top_k: int, keep: list[int]) -> list[float]:
    """Sum over tokens of the gates: softmax over the K largest noisy logits, zero for the others."""
    importance = [0.0] * len(noisy[0])
    for token, values in enumerate(noisy):
        chosen = sorted(range(len(values)), key=lambda e: -values[e])[:top_k]
        total = sum(math.exp(values[e]) for e in chosen)
        for expert in chosen:
            importance[expert] += keep[token] * math.exp(values[expert]) / total
    return importance


def _load_by_loop(
    logits: list[list[float]], noisy: list[list[float]], deviation: list[list[float]], top_k: int, keep: list[int]
) -> list[float]:
    """Shazeer et al. 2017, equations 8 to 10: Phi((logit - K-th largest of the other noisy logits) / deviation)."""
    load = [0.0] * len(noisy[0])
    for token, values in enumerate(noisy):
        for expert in range(len(values)):
            others = sorted((values[e] for e in range(len(values)) if e != expert), reverse=True)
            margin = (logits[token][expert] - others[top_k - 1]) / deviation[token][expert]
            load[expert] += keep[token] * (1 + math.erf(margin / math.sqrt(2))) / 2
    return load


def _balance(top_k: int, keep: list[int] | None, with_noise: bool) -> float:
    noisy = torch.tensor(NOISY)
    top, index = noisy.topk(top_k, dim=-1)
    token_mask = None if keep is None else torch.tensor(keep)
    deviation = torch.tensor(DEVIATION) if with_noise else None
    routing = Routing(torch.tensor(LOGITS), top.softmax(dim=-1), index, noisy, deviation)
    return balance_loss(routing, token_mask).item()


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("keep", [None, [1, 1, 0, 1], [0, 1, 0, 0]])
def test_balance_loss_is_the_papers_formula(top_k: int, keep: list[int] | None) -> None:
    kept = keep or [1] * 4
    importance = _importance_by_loop(NOISY, top_k, kept)
    load = _load_by_loop(LOGITS, NOISY, DEVIATION, top_k, kept)
    expected = _squared_variation_by_loop(importance) + _squared_variation_by_loop(load)
    assert _balance(top_k, keep, with_noise=True) == pytest.approx(expected, rel=1e-5)


def test_without_noise_load_counts_the_chosen() -> None:
    # chosen experts by hand: tokens 0 and 1 choose 0 and 1, tokens 2 and 3 choose 1 and 2
    importance = _importance_by_loop(NOISY, 2, [1] * 4)
    expected = _squared_variation_by_loop(importance) + _squared_variation_by_loop([2, 4, 2])
    assert _balance(2, None, with_noise=False) == pytest.approx(expected, rel=1e-5)


def test_squared_variation_is_the_one_worked_by_hand() -> None:
    assert squared_variation(torch.tensor([1.0, 1.0, 0.0, 0.0])).item() == pytest.approx(1.0)
    assert squared_variation(torch.tensor([2.0, 4.0, 6.0])).item() == pytest.approx(8 / 3 / 16)
    assert squared_variation(torch.tensor([3.0, 3.0])).item() == 0
    assert squared_variation(torch.zeros(3)).item() == 0


def test_balanced_routing_costs_nothing_and_collapsed_routing_its_worst() -> None:
    router = _router(num_experts=4, top_k=2, noise=False)
    with torch.no_grad():
        router.weight.copy_(torch.eye(4))
    balanced = torch.tensor([[9.0, 9, 0, 0], [0, 9, 9, 0], [0, 0, 9, 9], [9, 0, 0, 9]])
    collapsed = torch.tensor([[9.0, 9, 0, 0]] * 4)
    assert balance_loss(router(balanced)).item() == pytest.approx(0, abs=1e-6)
    # importance and load are both (2, 2, 0, 0) times 1 or 2: a squared variation of 1 each
    assert balance_loss(router(collapsed)).item() == pytest.approx(2, rel=1e-6)


def _router(hidden_size: int = 4, num_experts: int = 5, top_k: int = 2, **options: bool) -> NoisyTopKRouter:
    """In training mode, with random weights."""
    router = NoisyTopKRouter(hidden_size, num_experts, top_k, **options)
    for seed, parameter in enumerate(router.parameters()):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return router


def _tokens(num_tokens: int = 6, hidden_size: int = 4) -> Tensor:
    return torch.randn(num_tokens, hidden_size, generator=torch.Generator().manual_seed(9))


def test_training_adds_noise_of_the_learned_deviation() -> None:
    router, hidden = _router(), _tokens()
    torch.manual_seed(3)
    routing = router(hidden)
    torch.manual_seed(3)
    drawn = torch.randn(6, 5)
    deviation = torch.log1p(torch.exp(hidden @ router.noise_weight.t())) + 1e-2
    noisy = hidden @ router.weight.t() + drawn * deviation
    torch.testing.assert_close(routing.logits, hidden @ router.weight.t())
    assert torch.equal(routing.index, noisy.topk(2).indices)
    torch.testing.assert_close(routing.weights, noisy.topk(2).values.softmax(dim=-1))
    rows = [tensor.tolist() for tensor in (routing.logits, noisy, deviation)]
    expected = _squared_variation_by_loop(_importance_by_loop(rows[1], 2, [1] * 6))
    expected += _squared_variation_by_loop(_load_by_loop(*rows, 2, [1] * 6))
    assert balance_loss(routing).item() == pytest.approx(expected, rel=1e-4)


def test_the_balance_loss_moves_gates_and_noise() -> None:
    router = _router()
    torch.manual_seed(3)
    balance_loss(router(_tokens())).backward()
    assert router.weight.grad.abs().sum() > 1e-3
    assert router.noise_weight.grad.abs().sum() > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_gates_sum_to_one_in_float32_and_choose_different_experts(training: bool) -> None:
    router = _router().to(torch.bfloat16).train(training)
    routing = router(_tokens(50).to(torch.bfloat16))
    assert routing.logits.dtype == routing.weights.dtype == torch.float32
    assert routing.index.dtype == torch.int64
    torch.testing.assert_close(routing.weights.sum(dim=-1), torch.ones(50))
    assert (routing.weights > 0).all()
    assert all(len(set(row)) == 2 for row in routing.index.tolist())


def test_evaluation_draws_no_noise() -> None:
    router, hidden = _router().eval(), _tokens()
    before = torch.get_rng_state()
    one, other = router(hidden), router(hidden)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weights, other.weights)
    assert torch.equal(one.index, one.logits.topk(2).indices)
    router.train()
    assert not torch.equal(router(hidden).weights, one.weights)


def test_with_noise_off_there_is_nothing_to_learn_it_and_training_equals_evaluation() -> None:
    router, hidden = _router(noise=False), _tokens()
    assert [name for name, _ in router.named_parameters()] == ["weight"]
    before = torch.get_rng_state()
    training = router(hidden)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(training.weights, router.eval()(hidden).weights)
    balance_loss(training).backward()
    assert router.weight.grad.any()


def test_a_router_starts_at_zero() -> None:
    assert not any(parameter.any() for parameter in NoisyTopKRouter(4, 3, 2).parameters())


@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("num_experts", [1, 3])
def test_all_experts_may_be_chosen(noise: bool, num_experts: int) -> None:
    router = _router(num_experts=num_experts, top_k=num_experts, noise=noise)
    routing = router(_tokens())
    assert [sorted(row) for row in routing.index.tolist()] == [list(range(num_experts))] * 6
    importance = torch.zeros(6, num_experts).scatter(1, routing.index, routing.weights).sum(dim=0)
    expected = _squared_variation_by_loop(importance.tolist())  # the load is the same for all
    assert balance_loss(routing).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_padding_counts_neither_in_importance_nor_in_load() -> None:
    router, hidden = _router().eval(), _tokens()
    keep = torch.tensor([1, 0, 1, 1, 0, 1])
    masked = router(hidden)
    assert balance_loss(masked, keep).item() == pytest.approx(balance_loss(router(hidden[keep.bool()])).item())
    other = hidden.clone()
    other[keep == 0] = 100
    assert balance_loss(router(other), keep).item() == balance_loss(masked, keep).item()
    assert balance_loss(router(other)).item() != balance_loss(masked, keep).item()
    assert torch.equal(masked.index, router(hidden).index)  # padding is routed all the same


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_the_token_mask_may_have_any_dtype_and_shape(dtype: torch.dtype) -> None:
    router, hidden = _router().eval(), _tokens()
    keep = torch.tensor([[1, 0, 1], [1, 0, 1]])
    expected = balance_loss(router(hidden), keep.flatten())
    assert torch.equal(balance_loss(router(hidden), keep.to(dtype)), expected)


def test_padding_alone_costs_nothing_and_gives_finite_gradients() -> None:
    router = _router()
    loss = balance_loss(router(_tokens()), torch.zeros(6))
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad.isfinite().all() for parameter in router.parameters())
