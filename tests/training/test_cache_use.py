"""A model leaves its Trainer, and is saved, with the use_cache that it came with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, Trainer

from padnet_hf import CalibrationBatches, IMPCallback, PartitionConfig
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.transformers_seams import CHECKPOINTING
from tests.hub.cases import make_batch, make_model
from tests.models.samples import small_dense, small_pad
from tests.training.conftest import collate, make_rows, small_bert

Make = Callable[..., Trainer]


def writer(use_cache: bool = True) -> PADModelMixin:
    model = small_pad("llama", "AutoModelForCausalLM", vocab_size=50, use_cache=use_cache)
    model.generation_config = GenerationConfig(max_new_tokens=7, use_cache=use_cache, eos_token_id=[3, 4])
    return model


def as_text(trainer: Trainer) -> Trainer:
    """The rows as a language model takes them: the labels are the tokens."""
    trainer.train_dataset = trainer.eval_dataset = [
        {"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in trainer.train_dataset
    ]
    return trainer


def saved(folder: Path, name: str = "config.json") -> dict[str, object]:
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("option", [{}, {CHECKPOINTING: True}, {"use_cache": True}])
def test_a_language_model_is_saved_and_left_as_it_came(
    make_trainer: Make, use_cache: bool, option: dict[str, bool], tmp_path: Path
) -> None:
    model, seen = writer(use_cache), []
    model.register_forward_pre_hook(lambda module, args: seen.append(module.config.use_cache))
    texts = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in make_rows()]
    imp = IMPCallback(CalibrationBatches(texts, collate, batch_size=4), PartitionConfig(num_rounds=1))
    options = {"save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    trainer = as_text(make_trainer(model, callbacks=[imp], **options, **option))
    assert seen
    assert model.config.use_cache == use_cache
    trainer.train()
    trainer.evaluate()
    assert set(seen) == {
        option.get("use_cache", False)
    }  # in the partition, in training and in evaluation the option holds
    trainer.save_model()
    model.save_pretrained(tmp_path / "by hand")
    for folder in (tmp_path / "out", tmp_path / "out" / "checkpoint-1", tmp_path / "by hand"):
        assert saved(folder)["use_cache"] == use_cache
        kept = saved(folder, "generation_config.json")
        assert (kept["use_cache"], kept["max_new_tokens"], kept["eos_token_id"]) == (use_cache, 7, [3, 4])
        loaded = AutoModelForCausalLM.from_pretrained(folder)
        assert (loaded.config.use_cache, loaded.generation_config.use_cache) == (use_cache, use_cache)


def test_so_is_a_dense_one_and_one_that_was_built_by_the_trainer(make_trainer: Make, tmp_path: Path) -> None:
    for number, options in enumerate(
        ({"model": small_dense("llama", "AutoModelForCausalLM", vocab_size=50)}, {"model_init": lambda: writer()})
    ):
        trainer = as_text(make_trainer(**options, output_dir=str(tmp_path / str(number))))
        trainer.save_model()
        assert saved(tmp_path / str(number))["use_cache"]
        trainer.train()
        trainer.save_model()
        assert saved(tmp_path / str(number))["use_cache"]
        assert trainer.model.config.use_cache


def test_what_knows_no_cache_gets_no_such_field(make_trainer: Make, tmp_path: Path) -> None:
    model, batch = make_model("resnet-unit"), make_batch("resnet")
    trainer = make_trainer(model)
    trainer.train_dataset = [{name: values[row] for name, values in batch.items()} for row in range(3)]
    trainer.train()
    trainer.save_model()
    assert "use_cache" not in saved(tmp_path / "out")
    assert not hasattr(model.config, "use_cache")
    trainer = make_trainer(small_bert())
    trainer.train()
    assert trainer.model.config.use_cache  # of BERT as a decoder


def test_a_training_that_fails_leaves_it_too(make_trainer: Make) -> None:
    trainer = as_text(make_trainer(writer()))
    trainer.train_dataset = [{"input_ids": torch.tensor([99, 1]), "labels": torch.tensor([1, 1])}]
    with pytest.raises(IndexError):
        trainer.train()
    assert trainer.model.config.use_cache
