"""What each process of a test of sharded models does: it holds the sharded model against the whole one.

Tensors are equal up to TOLERANCE of their largest value, or of 1 where that is smaller.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import ParallelismConfig
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, TrainingArguments, set_seed
from transformers.distributed import DistributedConfig

from padnet_hf import (
    PADBertConfig,
    PADBertForMaskedLM,
    PADBertForMultipleChoice,
    PADBertForQuestionAnswering,
    PADBertForSequenceClassification,
    PADBertForTokenClassification,
    PADBertModel,
    PADNetError,
    PADTrainer,
    PartitionConfig,
    lora_config,
    partition,
)
from padnet_hf.models.known import KNOWN
from padnet_hf.models.registry import family_of
from tests.models.samples import MODELS, inputs_of, labels_of, set_apart, small_pad

TP, EP = {"tp_size": 2}, {"tp_size": 2, "ep_size": 2}
TOLERANCE = 5e-6
"""Seen: 2e-6, in outputs and in gradients."""

FORMS = {
    "dynamic": None,
    "element": PartitionConfig(dynamic_ratio=0.4, criterion="magnitude"),
    "unit": PartitionConfig(dynamic_ratio=0.4, criterion="magnitude", granularity="unit"),
    "per copy": PartitionConfig(dynamic_ratio=0.4, criterion="magnitude", masks="per_copy"),
    "left out": PartitionConfig(criterion="magnitude", granularity="unit", masks="per_copy", static_values="none"),
    "static": PartitionConfig(dynamic_ratio=0),
}

INPUT_IDS = torch.tensor([[1, 5, 9, 33, 62, 0, 0], [4, 7, 8, 12, 3, 2, 0]])
INPUTS = {"input_ids": INPUT_IDS, "attention_mask": (INPUT_IDS > 0).long()}
LABELS = torch.tensor([0, 1])
HEADS: dict[type[PreTrainedModel], dict[str, Tensor]] = {
    PADBertModel: INPUTS,
    PADBertForSequenceClassification: INPUTS | {"labels": LABELS},
    PADBertForTokenClassification: INPUTS | {"labels": INPUT_IDS % 2},
    PADBertForQuestionAnswering: INPUTS | {"start_positions": LABELS, "end_positions": LABELS + 2},
    PADBertForMultipleChoice: {n: torch.stack([t, t.flip(1)], 1) for n, t in INPUTS.items()} | {"labels": LABELS},
    PADBertForMaskedLM: INPUTS | {"labels": INPUT_IDS},
}
CLASSIFIER = PADBertForSequenceClassification


def together(work: Callable[..., None], *arguments: Any) -> None:
    """Do this work; leave when all have done it, since the first process keeps what the others connect by."""
    work(*arguments)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def make(form: str, model_class: type[PreTrainedModel] = CLASSIFIER, **fields: Any) -> PreTrainedModel:
    """A model of three layers, of which one is dense, with an odd number of words; copies and scales are apart."""
    sizes = {"vocab_size": 63, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    sizes |= {"num_hidden_layers": 3, "moe_layers": [0, 2], "num_experts": 4}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "router_noise": False}
    set_seed(0)
    model = model_class(PADBertConfig(**sizes | still | {"router_init_std": 0.5, "initializer_range": 0.2} | fields))
    if FORMS[form] is not None:
        partition(model, config=FORMS[form], progress=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += (0.5 if name.endswith("phi") else 0.05) * torch.randn_like(parameter)
    return model


def load(folder: Path, model_class: type[PreTrainedModel] = CLASSIFIER, **options: Any) -> PreTrainedModel:
    """The saved model: whole without options of a DistributedConfig, sharded with them."""
    sharded = {"distributed_config": DistributedConfig(**options)} if options else {}
    return model_class.from_pretrained(folder, **sharded).eval()


def results(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Outputs without gradients, outputs, and the gradient of every parameter that has one, whole, by name."""
    model.zero_grad()
    with torch.no_grad():
        yield "evaluated", model(**inputs)[1]
    outputs = model(**inputs)
    yield "output", outputs[1].detach()
    (outputs.loss if "loss" in outputs else outputs[0].square().mean()).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            yield name, parameter.grad.full_tensor() if isinstance(parameter, DTensor) else parameter.grad


def assert_equal(sharded: PreTrainedModel, whole: PreTrainedModel, inputs: dict[str, Tensor]) -> None:
    """Fails unless both compute the same."""
    actual, expected = (dict(results(model, inputs)) for model in (sharded, whole))
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        error, scale = (actual[name] - tensor).abs().max().item(), max(1.0, tensor.abs().max().item())
        assert error <= TOLERANCE * scale, f"{name} of {type(whole).__name__} is off by {error}"


def compare_heads(folder: Path) -> None:
    """Every class, in tensor and in expert parallelism; each process holds its half of what is spread."""
    for model_class, inputs in HEADS.items():
        whole = load(folder / model_class.__name__, model_class)
        for options in (TP, EP):
            sharded = load(folder / model_class.__name__, model_class, **options)
            spread = {name for name, parameter in sharded.named_parameters() if isinstance(parameter, DTensor)}
            dynamic = {name for name, _ in whole.named_parameters() if name.endswith("dynamic")}
            assert dynamic & spread == (dynamic if options is EP else set())
            assert any(name.endswith("attention.self.query.weight") for name in spread)
            assert_equal(sharded, whole, inputs)


SIBLINGS = [dense for dense in KNOWN if dense != "bert" and getattr(family_of(dense)(), "base_model_ep_plan", None)]
"""Other families with plans: those with BERT's layers, and those with Llama's."""


def save_siblings(folder: Path) -> None:
    """Every class of every sibling, partitioned."""
    for number, (dense, auto_class) in enumerate(pair for pair in MODELS if pair[0] in SIBLINGS):
        model = small_pad(dense, auto_class, moe_layers=[1] if number % 3 else None)
        granularity = ("element", "unit")[number % 2]
        partition(model, config=PartitionConfig(criterion="random", granularity=granularity), progress=False)
        set_apart(model).save_pretrained(folder / type(model).__name__)


def compare_siblings(folder: Path) -> None:
    """Every head of the other families with plans, in tensor and in expert parallelism."""
    for dense in SIBLINGS:
        for auto_class, model_class in family_of(dense).models.items():
            if auto_class == "AutoModel":  # some have one output alone; it is in every head
                continue
            whole = load(folder / model_class.__name__, model_class)
            inputs = inputs_of(whole, batch=2)
            inputs |= labels_of(whole, inputs)
            for options in (TP, EP):
                assert_equal(load(folder / model_class.__name__, model_class, **options), whole, inputs)


def compare_dispatches(folder: Path) -> None:
    """Every way of transformers to bring tokens to the experts, and to run these."""
    whole = load(folder)
    for dispatch in ("auto", "all_reduce", "all_to_all"):
        sharded = load(folder, **EP, ep_implementation=dispatch)
        for implementation in ("eager", "grouped_mm", "batched_mm"):
            for model in (whole, sharded):
                model.set_experts_implementation(implementation)
            assert_equal(sharded, whole, HEADS[CLASSIFIER])
        sharded.cache_built_weights()
        assert_equal(sharded, whole, HEADS[CLASSIFIER])
        assert str(sharded.partition_report()) == str(whole.partition_report())


def train(folder: Path, out: Path, **options: Any) -> None:
    """Four steps of gradient descent; what all processes have stays equal in all."""
    model = load(folder, **options).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    set_seed(0)
    for step in range(4):
        optimizer.zero_grad()
        model(**INPUTS | {"input_ids": (INPUT_IDS + step) % 63, "labels": LABELS}).loss.backward()
        optimizer.step()
    if options:
        for name, parameter in model.named_parameters():
            own = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter.detach()
            theirs = own.clone()
            torch.distributed.broadcast(theirs, 0)
            assert torch.equal(own, theirs), f"{name} differs between processes"
    model.save_pretrained(out)


def train_in_parallel(folder: Path, out: Path) -> None:
    """In tensor and in expert parallelism."""
    train(folder, out / "tp", **TP)
    train(folder, out / "ep", **EP)


def train_with_trainer(folder: Path, out: Path, model_class: type[PreTrainedModel], **options: Any) -> None:
    """Four steps of a PADTrainer, and an evaluation. accelerate shards on accelerators only: it is told not to look."""
    ParallelismConfig._validate_accelerator = lambda self, accelerator: None
    model = load(folder, model_class, **options)
    writes = model_class.__name__.endswith("ForCausalLM")
    ids = [(INPUT_IDS[0] + number) % 60 for number in range(16)]
    samples = [{"input_ids": row, "labels": row if writes else number % 2} for number, row in enumerate(ids)]
    how = {"max_steps": 4, "per_device_train_batch_size": 4, "optim": "sgd", "learning_rate": 0.05, "use_cpu": True}
    quiet = {"save_strategy": "no", "report_to": [], "disable_tqdm": True}
    arguments = TrainingArguments(str(out), **how, **quiet)
    trainer = PADTrainer(model, arguments, train_dataset=samples, eval_dataset=samples)
    trainer.train()
    loss = trainer.evaluate()["eval_loss"]
    trainer.save_model()
    if trainer.is_world_process_zero():
        (out / "loss.json").write_text(json.dumps(loss))


def run_snippet(code: str, folder: Path) -> None:
    """Code as a user would write it, in this folder."""
    os.chdir(folder)
    exec(code, {})


def save_again(folder: Path, out: Path) -> None:
    """A checkpoint that was loaded sharded and saved is what it was, tied words included."""
    load(folder, PADBertForMaskedLM, **EP).save_pretrained(out)
    before, after = (load_file(path / "model.safetensors") for path in (folder, out))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def ask_for_too_much(folder: Path) -> None:
    """What cannot be done with several processes is refused in every one of them."""
    model = load(folder / "four", **TP)
    with pytest.raises(PADNetError, match=r"spread over processes.*call partition\(\) first"):
        partition(model, config=FORMS["static"], progress=False)
    with pytest.raises(PADNetError, match=r"spread over processes: save it"):
        model.to_dense()
    for options in (TP, EP):
        with pytest.raises(PADNetError, match=r"spread over processes.*load the model without a DistributedConfig"):
            lora_config(load(folder / "four", **options))
    with pytest.raises(PADNetError, match=r"3 copies \(experts\) cannot be spread evenly over 2 processes"):
        load(folder / "three", **EP)
    load(folder / "three", **TP)
    with pytest.raises(PADNetError, match=r"expert_dropout is 0\.4, but with experts on 2 processes"):
        load(folder / "dropout", **EP)
    load(folder / "dropout", **TP)
