import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from padnet_hf.layers.experts import BY_DEVICE, PADExperts
from padnet_hf.method.layer import pad_weights
from tests.layers.reference import FORMS, KINDS, make_experts, make_routing, reference_experts

IMPLEMENTATIONS = [
    ("eager", torch.float64),
    ("eager", torch.float32),
    ("grouped_mm", torch.float32),
    (BY_DEVICE, torch.float32),
    ("batched_mm", torch.float64),
]

Forward = Callable[[PADExperts, Tensor, Tensor, Tensor], Tensor]


def _run(
    experts: PADExperts, routing: tuple[Tensor, Tensor, Tensor], forward: Forward | None = None
) -> dict[str, Tensor]:
    """Output and every gradient of a scalar of it: in the parameters, the hidden states and the gates' logits."""
    hidden, logits, index = routing[0].detach().requires_grad_(), routing[1].detach().requires_grad_(), routing[2]
    gates = logits.softmax(dim=-1)
    output = forward(experts, hidden, index, gates) if forward else experts(hidden, index, gates)
    probe = torch.randn(output.shape, generator=torch.Generator().manual_seed(3)).to(output)
    (output * probe).sum().backward()
    gradients = {name: parameter.grad for name, parameter in experts.named_parameters()}
    # gates that are taken to sum to one do not reach the output of experts that are all static
    gradients |= {"hidden": hidden.grad, "logits": torch.zeros_like(logits) if logits.grad is None else logits.grad}
    return {"output": output.detach()} | gradients


def _assert_equal(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Equal up to `tolerance` of each tensor's largest value."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].shape == tensor.shape
        error = (actual[name].double() - tensor.double()).abs().max()
        assert error <= tolerance * max(1.0, tensor.abs().max().item()), f"{name} is off by {error}"


def _compare_with_formula(experts: PADExperts, routing: tuple[Tensor, Tensor, Tensor], tolerance: float) -> None:
    expected = _run(copy.deepcopy(experts), routing, reference_experts)
    assert all(tensor.abs().max() > 1e-3 for name, tensor in expected.items() if name not in ("hidden", "logits"))
    _assert_equal(_run(experts, routing), expected, tolerance)


@pytest.mark.parametrize(("implementation", "dtype"), IMPLEMENTATIONS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tokens", [80, 13, 1])  # of 80, scale factors are on the weights
def test_outputs_and_every_gradient_are_the_papers_formula(
    form: str, kind: str, implementation: str, dtype: torch.dtype, num_tokens: int
) -> None:
    experts = make_experts(form, implementation, dtype, **KINDS[kind])
    _compare_with_formula(experts, make_routing(num_tokens, dtype), 1e-10 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tokens", [13, 2, 1])
def test_without_gradients_outputs_are_the_papers_formula(form: str, kind: str, num_tokens: int) -> None:
    experts, (hidden, logits, index) = make_experts(form, **KINDS[kind]), make_routing(num_tokens)
    with torch.no_grad():
        expected = reference_experts(experts, hidden, index, logits.softmax(dim=-1))
        assert torch.allclose(experts(hidden, index, logits.softmax(dim=-1)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("implementation", "dtype"), IMPLEMENTATIONS[:3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_gates_need_not_sum_to_one(form: str, kind: str, implementation: str, dtype: torch.dtype) -> None:
    def with_sigmoid(forward: Forward) -> Forward:
        return lambda experts, hidden, index, gates: forward(experts, hidden, index, 1.5 * gates.square())

    experts, routing = make_experts(form, implementation, dtype, **KINDS[kind]), make_routing(13, dtype)
    expected = _run(copy.deepcopy(experts), routing, with_sigmoid(reference_experts))
    assert expected["logits"].abs().max() > 1e-3
    found = _run(experts, routing, with_sigmoid(lambda experts, *inputs: experts(*inputs)))
    _assert_equal(found, expected, 1e-10 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("form", ["unit", "static by unit", "static by element"])
def test_where_gates_sum_to_one_the_static_part_is_not_multiplied_by_their_sum(form: str) -> None:
    experts, routing = make_experts(form, gates_sum_to_one=True), make_routing(13)
    _compare_with_formula(experts, routing, 1e-10)
    hidden, logits, index = routing
    halved = experts(hidden, index, logits.softmax(dim=-1) / 2)
    static_is_whole = (halved - reference_experts(experts, hidden, index, logits.softmax(dim=-1) / 2)).abs().max()
    assert static_is_whole > 0.1


@pytest.mark.parametrize(("implementation", "dtype"), IMPLEMENTATIONS[:3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_compilers_are_given_is_the_papers_formula_too(
    form: str, kind: str, implementation: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts, routing = make_experts(form, implementation, dtype, **KINDS[kind]), make_routing(13, dtype)
    expected = _run(copy.deepcopy(experts), routing, reference_experts)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    _assert_equal(_run(experts, routing), expected, 1e-10 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize(("implementation", "dtype"), IMPLEMENTATIONS)
@pytest.mark.parametrize("form", ["fully dynamic", "element", "unit"])
def test_experts_without_tokens_get_no_gradient_of_their_own(
    form: str, implementation: str, dtype: torch.dtype
) -> None:
    experts = make_experts(form, implementation, dtype)
    hidden, logits, index = make_routing(9, dtype)
    index = index % 2  # experts 2 and 3 are never chosen
    index[:, 1] = 1 - index[:, 0]
    _compare_with_formula(experts, (hidden, logits, index), 1e-10 if dtype == torch.float64 else 2e-5)
    for weight in pad_weights(experts).values():
        assert not weight.dynamic.grad[2:].any()
        assert weight.dynamic.grad[:2].any()


@pytest.mark.parametrize(("implementation", "dtype"), IMPLEMENTATIONS)
@pytest.mark.parametrize("form", ["fully dynamic", "element", "unit"])
@pytest.mark.parametrize("expert", [0, 3])
def test_all_tokens_may_go_to_one_expert(form: str, implementation: str, dtype: torch.dtype, expert: int) -> None:
    hidden, logits, index = make_routing(9, dtype, top_k=1)
    routing = (hidden, logits, torch.full_like(index, expert))
    _compare_with_formula(make_experts(form, implementation, dtype), routing, 1e-10 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_every_expert_may_be_chosen(form: str) -> None:
    _compare_with_formula(make_experts(form), make_routing(5, top_k=4), 1e-10)


@pytest.mark.parametrize("kind", ["plain", "gated"])
@pytest.mark.parametrize("form", FORMS)
def test_dropout_drops_inner_activations_and_in_training_alone(form: str, kind: str) -> None:
    experts, routing = make_experts(form, dropout=0.4, **KINDS[kind]), make_routing(200)
    plain = _run(make_experts(form, **KINDS[kind]), routing)
    _assert_equal(_run(experts.eval(), routing), plain, 1e-12)
    inner, dropped = [], []
    experts.dropout.register_forward_pre_hook(lambda module, inputs: inner.append(inputs[0].flatten()))
    experts.dropout.register_forward_hook(lambda module, inputs, output: dropped.append(output.flatten()))
    torch.manual_seed(0)
    assert (_run(experts.train(), routing)["output"] - plain["output"]).abs().max() > 0.1
    inner, dropped = torch.cat(inner), torch.cat(dropped)
    stays = dropped != 0
    assert stays.double().mean().item() == pytest.approx(0.6, abs=0.03)
    torch.testing.assert_close(dropped, torch.where(stays, inner / 0.6, 0.0))


@pytest.mark.parametrize("form", ["element", "unit"])
@pytest.mark.parametrize("activation", ["relu", "gelu_new", "silu", "tanh"])
def test_other_activations(form: str, activation: str) -> None:
    _compare_with_formula(make_experts(form, activation=activation), make_routing(5), 1e-10)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", BY_DEVICE])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frozen", ["weights", "hidden"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same(form: str, implementation: str, frozen: str) -> None:
    expected = _run(make_experts(form, implementation, torch.float32), make_routing(7, torch.float32))
    experts = make_experts(form, implementation, torch.float32)
    hidden, logits, index = make_routing(7, torch.float32)
    hidden, logits = hidden.detach(), logits.detach()
    if frozen == "weights":
        experts.requires_grad_(False)
        hidden.requires_grad_()
    output = experts(hidden, index, logits.softmax(dim=-1))
    probe = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    (output * probe).sum().backward()
    torch.testing.assert_close(output, expected["output"], rtol=1e-5, atol=1e-5)
    if frozen == "weights":
        assert all(parameter.grad is None for parameter in experts.parameters())
        torch.testing.assert_close(hidden.grad, expected["hidden"], rtol=1e-4, atol=1e-4)
    else:
        assert hidden.grad is None
        for name, parameter in experts.named_parameters():
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", BY_DEVICE])
@pytest.mark.parametrize("form", FORMS)
def test_without_gradients_the_output_is_the_same_cached_or_not(form: str, implementation: str) -> None:
    experts = make_experts(form, implementation, torch.float32)
    hidden, logits, index = make_routing(7, torch.float32)
    gates = logits.detach().softmax(dim=-1)
    expected = experts(hidden, index, gates).detach()
    with torch.no_grad():
        for cache in (False, True, True):
            for weight in pad_weights(experts).values():
                weight.keep_built(cache)
            torch.testing.assert_close(experts(hidden, index, gates), expected, rtol=1e-5, atol=1e-5)


# Mixed precision


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", BY_DEVICE])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_under_autocast_experts_compute_in_its_dtype_and_gradients_stay_float32(
    form: str, implementation: str, low: torch.dtype
) -> None:
    experts, routing = make_experts(form, implementation, torch.float32), make_routing(13, torch.float32)
    expected = _run(copy.deepcopy(experts), routing)
    computed: list[torch.dtype] = []
    experts.act_fn.register_forward_hook(lambda module, inputs, output: computed.append(inputs[0].dtype))

    def forward(experts: PADExperts, *inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=low):
            return experts(*inputs)

    actual = _run(experts, routing, forward)
    assert set(computed) == {low}
    assert actual["output"].dtype == low
    for name, tensor in expected.items():
        assert name == "output" or actual[name].dtype == torch.float32
        assert (actual[name].float() - tensor).norm() <= 0.03 * max(3.0, tensor.norm())


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", BY_DEVICE])
@pytest.mark.parametrize("form", FORMS)
def test_a_bfloat16_layer_is_close_to_the_formula_in_float64(form: str, implementation: str) -> None:
    experts = make_experts(form, implementation, torch.bfloat16)
    hidden, logits, index = make_routing(13, torch.bfloat16)
    expected = _run(copy.deepcopy(experts).double(), (hidden.double(), logits.double(), index), reference_experts)
    actual = _run(experts, (hidden, logits, index))
    for name, tensor in expected.items():
        assert actual[name].dtype == torch.bfloat16
        assert (actual[name].double() - tensor).norm() <= 0.05 * max(1.0, tensor.norm())


# Memory


def _largest_saved(experts: PADExperts, routing: tuple[Tensor, Tensor, Tensor], forward: Forward | None = None) -> int:
    """Bytes of the largest tensor that autograd keeps for the backward pass, parameters aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in experts.parameters()}
    saved = [0]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved.append(storage.nbytes())
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        _run(experts, routing, forward)
    return max(saved)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", BY_DEVICE])
@pytest.mark.parametrize("form", ["element", "unit"])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_partitioned_layer_keeps_no_weights_in_full_for_the_backward_pass(
    form: str, implementation: str, autocast: bool
) -> None:
    def forward(experts: PADExperts, *inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return experts(*inputs)

    experts, routing = make_experts(form, implementation, torch.float32), make_routing(3, torch.float32)
    in_full = 4 * 24 * 8 * (2 if autocast else 4)
    if implementation == "grouped_mm" and form == "element":
        experts.rebuild_in_backward = False
        assert _largest_saved(experts, routing, forward) == in_full  # what the test is able to see
        experts.rebuild_in_backward = True
    assert _largest_saved(experts, routing, forward) <= in_full / 2


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", BY_DEVICE, "batched_mm"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rebuild", [True, False])
def test_gradients_are_the_same_under_checkpointing(form: str, implementation: str, rebuild: bool) -> None:
    def forward(experts: PADExperts, *inputs: Tensor) -> Tensor:
        return checkpoint(experts, *inputs, use_reentrant=False)

    routing = make_routing(7, torch.float32)
    expected = _run(make_experts(form, implementation, torch.float32), routing)
    experts = make_experts(form, implementation, torch.float32)
    experts.rebuild_in_backward = rebuild
    _assert_equal(_run(experts, routing, forward), expected, 1e-6)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", BY_DEVICE])
@pytest.mark.parametrize("form", FORMS)
def test_backward_may_run_twice(form: str, implementation: str) -> None:
    experts = make_experts(form, implementation, torch.float32)
    hidden, logits, index = make_routing(7, torch.float32)
    loss = experts(hidden, index, logits.softmax(dim=-1)).square().sum()
    parameters: list[Any] = [hidden, *experts.parameters()]
    first, second = (torch.autograd.grad(loss, parameters, retain_graph=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


class _Reads(TorchDispatchMode):
    """Which copies of some tensors (E, ...) any operation takes values of; views of them take none."""

    def __init__(self, *copies: Tensor) -> None:
        super().__init__()
        self.copies, self.read = copies, set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        views = {t.untyped_storage().data_ptr() for t in tree_leaves(result) if isinstance(t, Tensor)}
        for given in tree_leaves((args, kwargs)):
            if isinstance(given, Tensor) and given.untyped_storage().data_ptr() not in views:
                for tensor in self.copies:
                    if given.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr():
                        size = tensor[0].numel()
                        first = given.storage_offset() - tensor.storage_offset()
                        self.read |= set(range(first // size, -(-(first + given.numel()) // size)))
        return result


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_weights_of_experts_that_nobody_chose_are_not_touched(
    kind: str, form: str, autocast: bool
) -> None:
    experts = make_experts(form, dtype=torch.float32, **KINDS[kind])
    hidden, logits, _ = make_routing(3, torch.float32)
    index, gates = torch.tensor([[2, 0], [0, 2], [2, 0]]), logits.softmax(dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        _assert_not_touched(experts, form, hidden, index, gates)


def _assert_not_touched(experts: PADExperts, form: str, hidden: Tensor, index: Tensor, gates: Tensor) -> None:
    """Experts other than 0 and 2, which each of these tokens chose."""
    expected = experts(hidden, index, gates).detach()
    matrices = [weight.dynamic for weight in (experts.weights.up, experts.weights.down) if weight.dynamic is not None]
    with torch.no_grad(), _Reads(*matrices) as reads:
        found = experts(hidden, index, gates)
    torch.testing.assert_close(found, expected)
    if form in ("fully dynamic", "unit"):  # the others' are put together of values, copy by copy
        assert reads.read == {0, 2}
    calls: list[Tensor] = []
    linear = F.linear
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "linear", lambda *args: calls.append(args[1]) or linear(*args))
        experts(hidden, index, gates)
    static = {"unit": 2, "static by element": 2, "static by unit": 2}.get(form, 0)
    assert len(calls) == static + (0 if form.startswith("static") else 2 * 2)
