"""What works with one family works with all: inspection, cards, adapters, pipelines, compilers, graphs, processes."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel, get_peft_model
from PIL import Image
from torch import Tensor, nn
from transformers import BertTokenizer, pipeline

from padnet_hf import PartitionConfig, lora_config, partition
from padnet_hf.adapters.targets import find_targets
from padnet_hf.export.exporting import export_model
from padnet_hf.export.program import exported_program, random_inputs
from padnet_hf.hub.inspection import inspect_checkpoint
from padnet_hf.hub.model_card import write_card
from padnet_hf.method.layer import mask_groups
from padnet_hf.models.known import KNOWN
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.models.registry import image_processor_class
from tests.forked import forks as forks  # the fixture
from tests.forked import run_group
from tests.models.samples import (
    CLASSIFYING,
    SIBLINGS,
    UPCYCLED,
    classifier_of,
    family_of,
    inputs_of,
    labels_of,
    set_apart,
    siblings_later,
    small_pad,
)

every_family = pytest.mark.parametrize("dense", KNOWN)
CAUSAL = "AutoModelForCausalLM"
most_families = pytest.mark.parametrize("dense", siblings_later(KNOWN))
HEADS = [
    pytest.param(
        dense, head, marks=[pytest.mark.slow] * (head == CAUSAL) + [pytest.mark.thorough] * (dense in SIBLINGS)
    )
    for dense in KNOWN
    for head in (classifier_of(dense), CAUSAL)
    if head in family_of(dense).models
]
granularities = pytest.mark.parametrize("granularity", ["element", "unit"])


def classifier(dense: str, granularity: str | None = None, **fields: Any) -> PADModelMixin:
    """In evaluation mode, partitioned at random if asked, and apart as after training."""
    return with_head(dense, classifier_of(dense), granularity, **fields)


def with_head(dense: str, auto_class: str, granularity: str | None, **fields: Any) -> PADModelMixin:
    """The same with another head."""
    model = small_pad(dense, auto_class, **fields)
    if granularity:
        config = PartitionConfig(criterion="random", granularity=granularity)
        partition(model, None, config, progress=False)
    return set_apart(model)


def labelled(model: nn.Module) -> dict[str, Tensor]:
    inputs = inputs_of(model)
    return inputs | labels_of(model, inputs)


@every_family
@granularities
def test_a_checkpoint_is_inspected_and_described_by_its_headers(dense: str, granularity: str, tmp_path: Path) -> None:
    model = classifier(dense, granularity)
    model.save_pretrained(tmp_path)
    found = inspect_checkpoint(tmp_path)
    assert found.report.to_dict() == model.partition_report().to_dict()
    assert found.report.current.multiply_adds > 0
    card = write_card(tmp_path, found.config, found.report, repository="org/name")
    task = "image-classification" if "Image" in type(model).__name__ else "text-classification"
    task = task if dense in CLASSIFYING else "text-generation"
    assert card.data.pipeline_tag == task
    assert {"padnet", family_of(dense).copies[:-1]} & set(card.data.tags)
    per = "image" if family_of(dense).copies == "kernels" else "token"
    assert f"multiply-adds per {per}" in str(card)


@every_family
def test_lora_reaches_attention_and_routers_and_experts_where_there_are_any(dense: str, tmp_path: Path) -> None:
    model = classifier(dense, "unit")
    groups = {target.group for target in find_targets(model)}
    has_experts = family_of(dense).copies == "experts"
    assert "attention" in groups
    assert ("experts" in groups) == has_experts
    assert ("router" in groups) == (dense in UPCYCLED)  # those of trained mixtures stay as they are
    config = lora_config(copy.deepcopy(model), rank=2 if has_experts else 1)
    model.save_pretrained(tmp_path / "base")
    adapted = get_peft_model(copy.deepcopy(model), config)
    torch.testing.assert_close(adapted(**inputs_of(model)).logits, model(**inputs_of(model)).logits)
    adapted(**labelled(model)).loss.backward()
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad and "lora_B" in name}
    assert trained
    assert all(parameter.grad is not None for parameter in trained.values())
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    adapted.eval().save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(type(model).from_pretrained(tmp_path / "base"), tmp_path / "adapter").eval()
    expected = adapted(**inputs_of(model)).logits
    torch.testing.assert_close(again(**inputs_of(model)).logits, expected, rtol=1e-4, atol=1e-5)
    assert (expected - model(**inputs_of(model)).logits).abs().max() > 1e-5


@pytest.mark.parametrize("dense", CLASSIFYING)
def test_pipelines_find_model_and_processing_by_folder_alone(dense: str, tmp_path: Path) -> None:
    model = classifier(dense, "element")
    model.save_pretrained(tmp_path)
    if model.main_input_name == "pixel_values":
        image_processor_class(dense)().save_pretrained(tmp_path)
        image = Image.fromarray(np.zeros((60, 80, 3), dtype=np.uint8))
        if dense == "vit":
            image_processor_class(dense)(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
        answer = pipeline("image-classification", model=str(tmp_path))(image)
    else:
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film"]
        tokenizer = BertTokenizer({word: number for number, word in enumerate(words)})
        tokenizer.save_pretrained(tmp_path)
        answer = pipeline("text-classification", model=str(tmp_path))("a fine film")
    assert 0 < answer[0]["score"] <= 1


@pytest.mark.parametrize(("dense", "auto_class"), HEADS)
def test_a_compiler_takes_it_as_one_graph_in_training_too(dense: str, auto_class: str) -> None:
    torch.compiler.reset()
    model = with_head(dense, auto_class, "unit").train()
    for module in model.modules():
        if "Dropout" in type(module).__name__:
            module.p = module.drop_prob = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    # with labels, transformers' own DeBERTa-v2 branches on them
    inputs = inputs_of(model) if dense == "deberta-v2" else labelled(model)

    def run(function: nn.Module) -> dict[str, Tensor]:
        model.zero_grad()
        output = function(**inputs)
        loss = output.logits.square().sum() if output.loss is None else output.loss
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        return {"logits": output.logits.detach(), "loss": loss.detach(), **gradients}

    expected, found = run(model), run(torch.compile(model, fullgraph=True, backend="aot_eager"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


@most_families
def test_one_graph_holds_for_any_number_of_inputs(dense: str) -> None:
    model = classifier(dense, "element")
    graph = exported_program(model)[0].module()
    for batch, length in ((1, 1), (4, 13)):
        inputs = random_inputs(model, batch, length, seed=batch)
        with torch.no_grad():
            torch.testing.assert_close(graph(**inputs)["logits"], model(**inputs).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@most_families
def test_the_same_in_onnx(dense: str, tmp_path: Path) -> None:
    report = export_model(classifier(dense, "unit"), tmp_path / "onnx")
    assert report.max_difference <= 1e-4 * max(1.0, report.largest_output)


def masks_of(dense: str) -> list[Tensor]:
    """What IMP chooses from this process's share of four batches."""
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else None
    model = classifier(dense)
    batches = []
    for seed in range(4):
        inputs = inputs_of(model, seed=seed)
        batches.append(inputs | labels_of(model, inputs, seed=seed))
    own = batches if rank is None else batches[rank::2]
    partition(model, own, PartitionConfig(num_rounds=2, num_batches=4 if rank is None else 2), progress=False)
    return [weight.mask() for group in mask_groups(model, "element") for weight in group.weights]


def compare_masks(folder: Path) -> None:
    """In each of two processes: the masks are those of one process with all batches."""
    torch.distributed.init_process_group("gloo")
    for dense in KNOWN:
        expected = torch.load(folder / f"{dense}.pt")
        found = masks_of(dense)
        differ = sum(int((one != other).sum()) for one, other in zip(found, expected, strict=True))
        assert differ <= 2, f"{dense}: {differ} positions differ"  # sums in another order, at the threshold
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_choose_what_one_chooses(forks: Any, tmp_path: Path) -> None:
    for dense in KNOWN:
        torch.save(masks_of(dense), tmp_path / f"{dense}.pt")
        assert all(torch.equal(one, other) for one, other in zip(masks_of(dense), masks_of(dense), strict=True))
    run_group(forks, tmp_path, 2, compare_masks, tmp_path)


@pytest.mark.parametrize("tf_padding", [True, False])
@granularities
def test_mobilenet_pads_both_ways(tf_padding: bool, granularity: str) -> None:
    fields = {"tf_padding": tf_padding, "dynamic_layers": ["layer.*", "conv_1x1.*"]}  # as upstream's
    model = classifier("mobilenet_v2", granularity, **fields)
    paddings = {conv.padding for name, conv in model.named_modules() if name.endswith("conv_3x3.convolution")}
    assert paddings == ({(0, 0)} if tf_padding else {(1, 1)})
    static = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert all(".conv_stem." in name for name in static)
    default = classifier("mobilenet_v2", tf_padding=tf_padding)
    plain = {name for name, module in default.named_modules() if isinstance(module, nn.Conv2d)}
    assert all(name.endswith("conv_3x3.convolution") for name in plain - static)
    assert len(plain - static) == 16
    for size in (32, 37):
        pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        assert model(pixels).logits.isfinite().all()


@every_family
def test_no_parameter_is_without_a_gradient_in_training(dense: str) -> None:
    model = classifier(dense, "unit").train()
    model(**labelled(model)).loss.backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    unused = ("pooler", "mask_token", "position_embeddings")  # of stock models, where the head uses none
    assert [name for name in missing if not any(part in name for part in unused)] == []
