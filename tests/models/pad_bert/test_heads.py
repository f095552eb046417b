"""Every head gives the stock head's output, and reports the balance loss beside the task loss."""

import pytest
import torch
import transformers
from torch import Tensor
from transformers import BertConfig, PreTrainedModel, set_seed

import padnet_hf
from padnet_hf import PADBertForSequenceClassification, PADNetError

HEADS = ("SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice", "MaskedLM")
TINY = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def pair(head: str, **config: object) -> tuple[PreTrainedModel, PreTrainedModel]:
    """A random stock model and ours made from it, in evaluation mode."""
    set_seed(0)
    stock = getattr(transformers, f"BertFor{head}")(BertConfig(**TINY, num_labels=3 if "Class" in head else 2)).eval()
    return stock, getattr(padnet_hf, f"PADBertFor{head}").from_dense(stock, num_experts=4, **config)


def inputs_for(head: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 7) if head == "MultipleChoice" else (2, 7)
    ids = torch.randint(5, 60, shape, generator=generator)
    mask = torch.ones_like(ids)
    mask[0, ..., 5:] = 0
    labels = {
        "SequenceClassification": {"labels": torch.tensor([2, 0])},
        "TokenClassification": {"labels": torch.tensor([[0, 1, 2, 0, 1, -100, -100], [1] * 7])},
        "QuestionAnswering": {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 2])},
        "MultipleChoice": {"labels": torch.tensor([2, 0])},
        "MaskedLM": {"labels": torch.where(ids % 2 == 0, ids, -100)},
    }[head]
    return {"input_ids": ids, "attention_mask": mask, **labels}


@pytest.mark.parametrize("head", HEADS)
def test_outputs_and_loss_equal_the_stock_head(head: str) -> None:
    stock, ours = pair(head)
    expected = stock(**inputs_for(head), output_hidden_states=True, output_attentions=True)
    actual = ours(**inputs_for(head), output_hidden_states=True, output_attentions=True)
    assert set(expected) <= set(actual)
    for key in expected:
        torch.testing.assert_close(actual[key], expected[key], rtol=1e-4, atol=1e-5)
    assert type(ours.to_dense()) is type(stock)


@pytest.mark.parametrize("head", HEADS)
def test_the_stock_fields_come_first_as_a_tuple(head: str) -> None:
    stock, ours = pair(head)
    expected, actual = stock(**inputs_for(head), return_dict=False), ours(**inputs_for(head), return_dict=False)
    for stock_value, our_value in zip(expected, actual, strict=False):
        torch.testing.assert_close(our_value, stock_value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_training_adds_the_weighted_balance_loss_and_evaluation_does_not(head: str) -> None:
    _, ours = pair(head, balance_loss_coef=0.5)
    evaluated = ours(**inputs_for(head))
    assert evaluated.loss == evaluated.task_loss
    assert evaluated.balance_loss > 0
    trained = ours.train()(**inputs_for(head))
    torch.testing.assert_close(trained.loss, trained.task_loss + 0.5 * trained.balance_loss)


def test_without_labels_there_is_no_loss_to_report() -> None:
    _, ours = pair("SequenceClassification")
    inputs = {key: value for key, value in inputs_for("SequenceClassification").items() if key != "labels"}
    output = ours.train()(**inputs)
    assert output.loss is None
    assert output.task_loss is None
    assert output.balance_loss is None


@pytest.mark.parametrize("level", ["token", "sentence"])
def test_padding_tokens_change_neither_logits_nor_balance_loss(level: str) -> None:
    _, ours = pair("SequenceClassification", router_init_std=1.0, router_level=level)
    inputs = inputs_for("SequenceClassification")
    short = {key: value[:1, :5] if value.dim() == 2 else value[:1] for key, value in inputs.items()}
    padded = {key: value[:1] for key, value in inputs.items()}
    expected, actual = ours(**short), ours(**padded)
    torch.testing.assert_close(actual.logits, expected.logits)
    torch.testing.assert_close(actual.balance_loss, expected.balance_loss)


@pytest.mark.parametrize(("level", "rows"), [("token", 14), ("sentence", 2)])
def test_router_logits_are_returned_for_every_dynamic_layer(level: str, rows: int) -> None:
    _, ours = pair("SequenceClassification", router_level=level)
    output = ours(**inputs_for("SequenceClassification"), output_router_logits=True)
    assert [tuple(logits.shape) for logits in output.router_logits] == [(rows, 4), (rows, 4)]
    assert ours(**inputs_for("SequenceClassification")).router_logits is None


def test_only_the_layers_asked_for_are_dynamic() -> None:
    stock, ours = pair("SequenceClassification", moe_layers=[1])
    assert [layer.feed_forward is not None for layer in ours.bert.encoder.layer] == [False, True]
    inputs = inputs_for("SequenceClassification")
    torch.testing.assert_close(ours(**inputs).logits, stock(**inputs).logits, rtol=1e-4, atol=1e-5)
    output = ours(**inputs, output_router_logits=True)
    assert len(output.router_logits) == 1
    assert len(ours.partition_report().layers) == 1


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_activation_checkpointing_changes_no_gradient(granularity: str) -> None:
    _, ours = pair("SequenceClassification", router_noise=False)
    padnet_hf.partition(
        ours, [inputs_for("SequenceClassification")], padnet_hf.PartitionConfig(granularity=granularity), progress=False
    )
    ours.train()
    for module in ours.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ours.config.attention_probs_dropout_prob = 0.0

    def gradients() -> dict[str, Tensor]:
        ours.zero_grad()
        ours(**inputs_for("SequenceClassification")).loss.backward()
        return {name: p.grad.clone() for name, p in ours.named_parameters() if p.grad is not None}

    expected = gradients()
    ours.activation_checkpointing_enable()
    actual = gradients()
    assert expected.keys() == actual.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(attention: str) -> None:
    stock, ours = pair("SequenceClassification")
    ours.set_attn_implementation(attention)
    inputs = inputs_for("SequenceClassification")
    torch.testing.assert_close(ours(**inputs).logits, stock(**inputs).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_bfloat16_stays_close_to_float32(granularity: str, implementation: str) -> None:
    _, ours = pair("SequenceClassification")
    inputs = inputs_for("SequenceClassification")
    padnet_hf.partition(ours, [inputs], padnet_hf.PartitionConfig(granularity=granularity), progress=False)
    expected = ours(**inputs).logits
    ours.set_experts_implementation(implementation)
    output = ours.to(torch.bfloat16)(**inputs)
    assert output.logits.dtype == torch.bfloat16
    torch.testing.assert_close(output.logits.float(), expected, rtol=0.05, atol=0.02)


def test_grouped_mm_is_refused_where_sizes_do_not_fit_and_the_default_runs_there() -> None:
    model = PADBertForSequenceClassification(padnet_hf.PADBertConfig(**(TINY | {"intermediate_size": 37})))
    assert model.config._experts_implementation == "pad"
    assert model(inputs_for("SequenceClassification")["input_ids"]).logits.isfinite().all()
    with pytest.raises(PADNetError, match=r"multiples of 4.*37.*eager"):
        model.set_experts_implementation("grouped_mm")
