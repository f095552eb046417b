"""A model that is partitioned already, and checkpoints of one, meet a Trainer that asks for a partition."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, Trainer

from padnet_hf import PADNetError
from padnet_hf.jobs.output_folder import find_checkpoint
from padnet_hf.method.layer import pad_weights
from tests.training.conftest import imp, small_bert

Make = Callable[..., Trainer]

OTHERS = {
    "dynamic_ratio": (0.3, "0.5"),
    "granularity": ("unit", "'element'"),
    "criterion": ("magnitude", "'snip'"),
    "scope": ("layer", "'global'"),
    "seed": (7, "42"),
}


KINDS = {
    "element": {},
    "unit": {"granularity": "unit"},
    "masks of each copy": {"masks": "per_copy"},
    "neurons left out": {"granularity": "unit", "masks": "per_copy", "static_values": "none"},
}


def masks(model: torch.nn.Module) -> dict[str, list[bool]]:
    return {name: weight.mask().tolist() for name, weight in pad_weights(model).items()}


@pytest.mark.parametrize("stock", [True, False])
def test_a_second_trainer_with_the_same_configuration_leaves_the_model_alone(make_trainer: Make, stock: bool) -> None:
    model = small_bert()
    make_trainer(model, stock=stock, callbacks=[imp()])
    first = masks(model)
    second = imp(rows=9)
    make_trainer(model, stock=stock, callbacks=[second]).train()
    assert second.report is None
    assert masks(model) == first


@pytest.mark.parametrize("field", OTHERS)
def test_a_second_trainer_with_another_configuration_is_refused_with_both(make_trainer: Make, field: str) -> None:
    asked, found = OTHERS[field]
    model = small_bert()
    make_trainer(model, callbacks=[imp()])
    first = masks(model)
    with pytest.raises(PADNetError, match=rf"already with {field} {found}, but asked for is {field} {asked!r}: "):
        make_trainer(model, callbacks=[imp(**{field: asked})])
    assert masks(model) == first


def test_a_record_without_a_field_is_compared_by_the_others(make_trainer: Make) -> None:
    model = small_bert()
    make_trainer(model, callbacks=[imp()])
    model.config.partition = {name: value for name, value in model.config.partition.items() if name != "scope"}
    make_trainer(model, callbacks=[imp(scope="layer")])
    with pytest.raises(PADNetError, match=r"dynamic_ratio 0\.5, but asked for is dynamic_ratio 0\.4"):
        make_trainer(model, callbacks=[imp(dynamic_ratio=0.4)])


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_takes_the_partition_of_the_checkpoint(make_trainer: Make, kind: str, tmp_path: Path) -> None:
    make_trainer(small_bert(), callbacks=[imp(**KINDS[kind])], save_steps=1).train()
    checkpoint = tmp_path / "out" / "checkpoint-1"
    straight = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "checkpoint-2")

    resumed = small_bert()
    trainer = make_trainer(resumed, callbacks=[imp(rows=9, **KINDS[kind])])
    saved = json.loads((checkpoint / "config.json").read_text())
    assert resumed.config.partition["mask_hash"] != saved["partition"]["mask_hash"]
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert resumed.config.partition == saved["partition"]
    assert resumed.config.dynamic_counts == saved["dynamic_counts"]
    assert masks(resumed) == masks(straight)
    for name, tensor in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=1e-6)
    trainer.save_model(str(tmp_path / "again"))
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "again")  # which checks the masks


def test_resuming_a_fully_dynamic_model_takes_the_partition_of_the_checkpoint(
    make_trainer: Make, tmp_path: Path
) -> None:
    make_trainer(small_bert(), callbacks=[imp()], save_steps=1).train()
    model = small_bert()
    make_trainer(model).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))
    assert model.is_partitioned
    assert masks(model) == masks(AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "checkpoint-2"))


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {"dynamic_ratio": 0.3}, r"was partitioned with dynamic_ratio 0\.5, but the model with dynamic_ratio 0\.3"),
        (None, {}, r"is fully dynamic, but the model is partitioned \(dynamic_ratio 0\.5, granularity 'element'"),
    ],
)
def test_resuming_with_another_configuration_is_refused_with_both(
    make_trainer: Make, first: dict | None, second: dict, message: str, tmp_path: Path
) -> None:
    callbacks = [] if first is None else [imp(**first)]
    make_trainer(small_bert(), callbacks=callbacks, save_steps=1).train()
    trainer = make_trainer(small_bert(), callbacks=[imp(**second)])
    with pytest.raises(PADNetError, match=message):
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))


def test_a_checkpoint_of_other_sizes_is_refused_in_one_line(make_trainer: Make, tmp_path: Path) -> None:
    make_trainer(small_bert(), callbacks=[imp()], save_steps=1).train()
    model = small_bert()
    model.resize_token_embeddings(60)
    trainer = make_trainer(model, callbacks=[imp()])
    with pytest.raises(PADNetError, match=r"checkpoint-1' does not fit this PADBertForSequenceClassification: .*size"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))


def test_the_stock_trainer_takes_the_masks_of_the_checkpoint_too(make_trainer: Make, tmp_path: Path) -> None:
    make_trainer(small_bert(), stock=True, callbacks=[imp()], save_steps=1).train()
    resumed = small_bert()
    trainer = make_trainer(resumed, stock=True, callbacks=[imp(rows=9)])
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))
    assert masks(resumed) == masks(
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "checkpoint-1")
    )
    resumed.check_masks()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"dynamic_ratio": 0.3},
            r"is 0\.500 dynamic \(granularity 'element', masks 'shared'\), but asked for is 0\.300 \(",
        ),
        ({"granularity": "unit"}, r"\(granularity 'element', .*\), but asked for is 0\.5\d\d \('unit', 'shared'\)"),
        ({"masks": "per_copy"}, r"masks 'shared'\), but asked for is 0\.500 \('element', 'per_copy'\)"),
    ],
)
def test_the_stock_trainer_refuses_a_checkpoint_of_another_partition(
    make_trainer: Make, fields: dict, message: str, tmp_path: Path
) -> None:
    make_trainer(small_bert(), stock=True, callbacks=[imp()], save_steps=1).train()
    trainer = make_trainer(small_bert(), stock=True, callbacks=[imp(**fields)])
    with pytest.raises(PADNetError, match=message):
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-1"))


def test_a_checkpoint_in_shards_is_resumed_from(make_trainer: Make, tmp_path: Path) -> None:
    make_trainer(small_bert(), callbacks=[imp()], save_steps=1).train()
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "checkpoint-2").state_dict()
    checkpoint = tmp_path / "out" / "checkpoint-1"
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    model.save_pretrained(checkpoint, max_shard_size="10KB")
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 2
    assert find_checkpoint(str(checkpoint), "") == str(checkpoint)
    trainer = make_trainer(small_bert(), callbacks=[imp(rows=9)])
    trainer.train(resume_from_checkpoint=str(checkpoint))
    state = trainer.model.state_dict()
    assert state.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=1e-7)
