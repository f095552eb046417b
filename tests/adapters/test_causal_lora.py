"""LoRA on language models: what is trained is kept, and merged they write what they wrote before."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from padnet_hf import PADNetError, PartitionConfig, lora_config, partition, restore_masks, sparsify_adapter
from padnet_hf.models.pad_model import PADModelMixin
from tests.adapters.conftest import logits, train
from tests.models.samples import HEADS, UPCYCLED, inputs_of, labels_of, set_apart, small_pad

CAUSAL = "AutoModelForCausalLM"
FAMILIES = [dense for dense, auto_class in HEADS if auto_class == CAUSAL]

every_family = pytest.mark.parametrize("dense", FAMILIES)


def saved_base(dense: str, folder: Path, granularity: str = "unit", **fields: Any) -> PADModelMixin:
    """A partitioned model out of a folder, its copies apart."""
    model = small_pad(dense, CAUSAL, **fields)
    config = PartitionConfig(dynamic_ratio=0.5, criterion="random", granularity=granularity)
    partition(model, None, config, progress=False)
    set_apart(model).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder)


def batch_of(model: PreTrainedModel) -> dict[str, Tensor]:
    inputs = inputs_of(model)
    return inputs | labels_of(model, inputs)


def trained(model: PADModelMixin, **fields: Any) -> PeftModel:
    """With an adapter that a few steps have moved well away from zero."""
    torch.manual_seed(3)
    adapted = get_peft_model(model, lora_config(model, rank=4, **fields))
    moving = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    train(adapted, batch_of(model), torch.optim.AdamW(moving, lr=5e-2), steps=5)
    return adapted


def written(model: torch.nn.Module, batch: dict[str, Tensor]) -> list[int]:
    """The ten tokens that follow the first row."""
    ids = batch["input_ids"][:1]
    return model.generate(input_ids=ids, min_new_tokens=10, max_new_tokens=10, do_sample=False)[0].tolist()


@every_family
@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_loaded_and_merged_it_writes_what_the_trained_one_wrote(dense: str, granularity: str, tmp_path: Path) -> None:
    base = saved_base(dense, tmp_path / "base", granularity)
    batch = batch_of(base)
    before = written(base, batch)
    adapted = trained(base)
    expected, scores = written(adapted, batch), logits(adapted, batch)
    assert expected != before
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter").eval()
    assert torch.equal(logits(loaded, batch), scores)
    assert written(loaded, batch) == expected
    merged = loaded.merge_and_unload()
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert (type(merged), merged.num_parameters()) == (type(stock), stock.num_parameters())
    merged.save_pretrained(tmp_path / "merged")
    for some in (merged, AutoModelForCausalLM.from_pretrained(tmp_path / "merged")):
        torch.testing.assert_close(logits(some.eval(), batch), scores, rtol=1e-4, atol=1e-5)
        assert written(some, batch) == expected
        assert (some.config.partition, some.config.dynamic_counts) == (
            stock.config.partition,
            stock.config.dynamic_counts,
        )


@every_family
def test_the_adapter_holds_all_that_was_trained_and_no_head(dense: str, tmp_path: Path) -> None:
    adapted = trained(saved_base(dense, tmp_path / "base"))
    assert adapted.peft_config["default"].task_type == "CAUSAL_LM"
    moving = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert {name for name in moving if "lora_" not in name} == {
        f"base_model.model.model.layers.{layer}.mlp.router.modules_to_save.default.weight"
        for layer in (0, 1)
        if dense in UPCYCLED
    }
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    values = dict(loaded.named_parameters())
    for name, parameter in adapted.named_parameters():
        assert torch.equal(values[name], parameter), name


def test_a_target_that_is_tied_to_the_embeddings_is_refused(tmp_path: Path) -> None:
    tied, own = saved_base("qwen2", tmp_path / "tied"), saved_base("llama", tmp_path / "own")
    with pytest.raises(PADNetError, match=r"'lm_head' is one matrix with model\.embed_tokens.*modules_to_save="):
        lora_config(tied, rank=4, targets=["attention", "lm_head"])
    batch = batch_of(own)
    adapted = trained(own, targets=["attention", "experts", "router", "lm_head"])
    scores = logits(adapted, batch)
    torch.testing.assert_close(logits(adapted.merge_and_unload(), batch), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")  # that is asked for here
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning")
def test_a_tied_head_that_is_trained_in_full_is_merged_with_a_matrix_of_its_own(tmp_path: Path) -> None:
    base = saved_base("qwen2", tmp_path / "base")
    batch = batch_of(base)
    adapted = trained(base, modules_to_save=["lm_head"])
    scores, expected = logits(adapted, batch), written(adapted, batch)
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert not merged.config.tie_word_embeddings
    torch.testing.assert_close(logits(merged, batch), scores, rtol=1e-4, atol=1e-5)
    assert written(merged, batch) == expected


@every_family
def test_a_sparse_adapter_of_a_language_model_keeps_its_mask_through_a_file(dense: str, tmp_path: Path) -> None:
    base = saved_base(dense, tmp_path / "base")
    batch = batch_of(base)
    torch.manual_seed(3)
    adapted = get_peft_model(base, lora_config(base, rank=4))
    sparsity = sparsify_adapter(adapted, [batch], sparsity=0.75)
    moving = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    train(adapted, batch, torch.optim.AdamW(moving, lr=5e-2))
    adapted.save_pretrained(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    loaded = PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=True).eval()
    assert restore_masks(loaded) == sparsity
    assert torch.equal(logits(loaded, batch), logits(adapted, batch))
    assert written(loaded.merge_and_unload(), batch) == written(adapted, batch)
