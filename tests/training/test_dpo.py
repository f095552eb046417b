"""TRL's other Trainers make their loss themselves too: with PADTrainer before DPO's a step has the balance loss."""

import copy
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from padnet_hf import PADTrainer
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.transformers_seams import CHECKPOINTING
from tests.examples.language_modeling.conftest import new_tokenizer
from tests.training.test_sft import partitioned

ROUTER = "model.layers.0.mlp.router.weight"
TOKENIZER = new_tokenizer()
PAIRS = {"prompt": ["def f(x):", "return x"] * 2, "chosen": [" return x", " + 1"] * 2, "rejected": [" no", " what"] * 2}


class PADDPOTrainer(PADTrainer, DPOTrainer):
    """As the document says of SFTTrainer."""


def step_of(model: PADModelMixin, coef: float, batch_size: int, folder: Path) -> Tensor:
    """What one step of plain gradient descent of rate 1 over all pairs takes off a router."""
    model = copy.deepcopy(model)
    model.config.balance_loss_coef = coef
    before = model.get_parameter(ROUTER).detach().clone()
    options = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant"}
    options |= {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": 4 // batch_size}
    options |= {"max_grad_norm": 0.0, "train_sampling_strategy": "sequential", "save_strategy": "no"}
    options |= {"bf16": False, "use_cpu": True, "report_to": "none", CHECKPOINTING: False}
    args = DPOConfig(str(folder), **options)
    rows, tokenizer = Dataset.from_dict(PAIRS), copy.deepcopy(TOKENIZER)
    PADDPOTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer).train()
    return before - model.get_parameter(ROUTER).detach()


@pytest.mark.parametrize("batch_size", [4, 2])
def test_a_step_has_the_mean_balance_loss_of_its_batches(batch_size: int, tmp_path: Path) -> None:
    partitioned("llama", TOKENIZER).save_pretrained(tmp_path / "base")  # the reference is loaded from there
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    steps = [step_of(model, coef, batch_size, tmp_path / "out") for coef in (0.0, 5.0)]
    texts = [PAIRS["prompt"][row] + PAIRS[kind][row] + "<end>" for kind in ("chosen", "rejected") for row in range(4)]
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.pad_token = "<end>"
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    model.balance_losses = []  # taken over, so nothing is to be said of it
    output = model.train()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    (expected,) = torch.autograd.grad(5.0 * output.balance_loss, model.get_parameter(ROUTER))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(steps[1] - steps[0], expected, rtol=1e-3, atol=1e-5)
