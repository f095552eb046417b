import pytest
import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.layers import kernel_attention
from padnet_hf.layers.kernel_attention import KernelAttention, attention_named, check_temperature, register_attention


def _attention(function: str = "softmax", temperature: float = 1.0, **sizes: int) -> KernelAttention:
    torch.manual_seed(0)
    fields = {"in_channels": 12, "num_kernels": 4, "reduction": 4} | sizes
    return KernelAttention(**fields, function=function, temperature=temperature).double()


def _inputs(channels: int = 12, batch: int = 3) -> Tensor:
    return torch.randn(batch, channels, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_softmax_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    # e^0, e^1, e^2 = 1, 2.71828, 7.38906; their sum is 11.10734
    torch.testing.assert_close(attention_named("softmax")(logits, 1.0), torch.tensor([[0.090031, 0.244728, 0.665241]]))
    # at temperature 2: e^0, e^0.5, e^1 = 1, 1.64872, 2.71828; their sum is 5.36700
    torch.testing.assert_close(attention_named("softmax")(logits, 2.0), torch.tensor([[0.186324, 0.307196, 0.506480]]))


def test_sigmoid_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 4.0]])
    # sigmoid: 0.5, 0.731059, 0.268941, 0.982014; times 2 / 4
    expected = torch.tensor([[0.25, 0.365529, 0.134471, 0.491007]])
    torch.testing.assert_close(attention_named("sigmoid")(logits, 1.0), expected, rtol=1e-5, atol=1e-6)
    # at temperature 4: sigmoid of 0, 0.25, -0.25, 1: 0.5, 0.562177, 0.437823, 0.731059; times 2 / 4
    expected = torch.tensor([[0.25, 0.281088, 0.218912, 0.365529]])
    torch.testing.assert_close(attention_named("sigmoid")(logits, 4.0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
def test_a_high_temperature_makes_weights_equal(function: str) -> None:
    weights = _attention(function, temperature=1e9)(_inputs())
    torch.testing.assert_close(weights, torch.full((3, 4), 0.25, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_a_low_temperature_chooses_one_kernel() -> None:
    attention = _attention(temperature=1e-6)
    torch.nn.init.normal_(attention.score.weight)
    weights = attention(_inputs())
    assert weights.sort(dim=1).values[:, :-1].abs().max() < 1e-6


def test_weights_are_the_function_of_two_layers_on_the_mean_over_positions() -> None:
    attention, inputs = _attention(temperature=3.0), _inputs()
    torch.nn.init.normal_(attention.score.bias)
    for sample, weights in zip(inputs, attention(inputs), strict=True):
        means = torch.stack([channel.sum() / 30 for channel in sample])
        hidden = torch.stack([row @ means for row in attention.squeeze.weight]).clamp(min=0)
        assert hidden.shape == (3,)
        rows = zip(attention.score.weight, attention.score.bias, strict=True)
        powers = torch.stack([((row @ hidden + shift) / 3).exp() for row, shift in rows])
        torch.testing.assert_close(weights, powers / powers.sum())


def test_the_first_layer_has_no_bias_and_the_second_has_one() -> None:
    assert {name: tuple(p.shape) for name, p in _attention().named_parameters()} == {
        "squeeze.weight": (3, 12),
        "score.weight": (4, 3),
        "score.bias": (4,),
    }


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(3, 16, 1), (16, 16, 1), (31, 16, 1), (32, 16, 2)])
def test_at_least_one_hidden_channel_is_left(channels: int, reduction: int, hidden: int) -> None:
    attention = _attention(in_channels=channels, reduction=reduction)
    assert attention.squeeze.out_features == hidden
    assert attention(_inputs(channels)).shape == (3, 4)


@pytest.mark.parametrize("num_kernels", [1, 2, 3, 4, 5])
def test_logits_start_in_pairs_so_that_weights_sum_to_one(num_kernels: int) -> None:
    for function in ("softmax", "sigmoid"):
        attention = _attention(function, num_kernels=num_kernels)
        torch.testing.assert_close(attention(_inputs()).sum(dim=1), torch.ones(3, dtype=torch.float64))
    rows = attention.score.weight
    for first in range(0, num_kernels - 1, 2):
        assert rows[first].any()
        assert torch.equal(rows[first + 1], -rows[first])
    assert not rows[num_kernels - num_kernels % 2 :].any()
    assert not attention.score.bias.any()


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
def test_weights_start_different_so_that_kernels_can_be_told_apart(function: str) -> None:
    weights = _attention(function)(_inputs())
    assert all(len(set(row.tolist())) == 4 for row in weights)
    assert len({tuple(row.tolist()) for row in weights}) == 3  # and samples too


def test_sigmoid_weights_need_not_sum_to_one_after_training() -> None:
    attention = _attention("sigmoid")
    torch.nn.init.constant_(attention.score.bias, 2.0)
    assert (attention(_inputs()).sum(dim=1) > 1.1).all()


def test_half_precision_weights_are_float32() -> None:
    attention = _attention().to(torch.bfloat16)
    weights = attention(_inputs().to(torch.bfloat16))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))


def test_any_size_of_input_gives_the_same_number_of_weights() -> None:
    attention = _attention()
    for size in ((1, 1), (1, 9), (7, 2)):
        assert attention(torch.ones(2, 12, *size, dtype=torch.float64)).shape == (2, 4)


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PADNetError, match=r"attention is 'relu', but must be one of sigmoid, softmax; register_att"):
        _attention("relu")


def test_another_function_plugs_in_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_attention, "_FUNCTIONS", dict(kernel_attention._FUNCTIONS))

    @register_attention("first")
    def first(logits: Tensor, temperature: float) -> Tensor:
        assert temperature == 5
        return torch.nn.functional.one_hot(torch.zeros(len(logits), dtype=torch.long), logits.shape[1]).to(logits)

    assert attention_named("first") is first
    assert _attention("first", temperature=5)(_inputs()).tolist() == [[1, 0, 0, 0]] * 3
    with pytest.raises(PADNetError, match="one of first, sigmoid, softmax"):
        attention_named("second")


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, float("nan"), float("inf"), float("-inf")])
def test_a_temperature_that_is_not_positive_and_finite_is_refused(temperature: float) -> None:
    for make in (check_temperature, lambda value: _attention(temperature=value)):
        with pytest.raises(PADNetError, match=f"temperature is {temperature!r}, but must be above 0 and finite"):
            make(temperature)


def test_a_possible_temperature_is_given_back_as_a_float() -> None:
    assert isinstance(check_temperature(31), float)
    assert [check_temperature(value) for value in (31, 1e-3)] == [31.0, 1e-3]
