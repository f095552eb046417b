"""PADTrainer writes the model card; its pushes are in tests/hub/test_trainer_push.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import EvalResult, ModelCard
from peft import get_peft_model
from transformers import AutoModelForSequenceClassification, PreTrainedModel, TrainingArguments

from padnet_hf import PADNetError, PADTrainer, lora_config
from padnet_hf.jobs.sharing import share
from tests.hub.cases import make_batch, make_dense, make_model
from tests.hub.model_card import check_card
from tests.jobs.library import in_a_library

Make = Callable[..., PADTrainer]


@pytest.fixture
def make_trainer(tmp_path: Path) -> Make:
    """A Trainer of a model, after `max_steps` steps."""

    def make(model: PreTrainedModel, max_steps: int = 0) -> PADTrainer:
        batch = make_batch(model.config.model_type.removeprefix("pad_"))
        rows = [{key: value[row] for key, value in batch.items()} for row in range(3)]
        args = TrainingArguments(
            tmp_path / "org" / "run", max_steps=max_steps, report_to="none", use_cpu=True, disable_tqdm=True
        )
        trainer = PADTrainer(model, args, train_dataset=rows, eval_dataset=rows)
        if max_steps:
            trainer.train()
            trainer.evaluate()
        return trainer

    return make


def card(tmp_path: Path) -> str:
    text = (tmp_path / "org" / "run" / "README.md").read_text()
    assert check_card(text) == ([], [])
    return text


def names(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "org" / "run").iterdir() if path.is_file()}


@pytest.mark.parametrize("case", ["bert-unit", "resnet-element"])
def test_the_card_has_the_models_size_and_how_it_was_trained(make_trainer: Make, case: str, tmp_path: Path) -> None:
    trainer = make_trainer(make_model(case), max_steps=1)
    trainer.create_model_card()
    text = card(tmp_path)
    assert f"| **this model** | {trainer.model.num_parameters():,} |" in text
    assert "## Training" in text
    assert "- learning_rate: 5e-05" in text
    assert '.from_pretrained("run")' in text
    assert names(tmp_path) == {"README.md", "partition_report.json", "partition.png"}


def test_a_second_card_keeps_what_was_written_into_the_first(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(make_model("bert-unit"))
    trainer.create_model_card(tags=["first"])
    file = tmp_path / "org" / "run" / "README.md"
    file.write_text(file.read_text().replace("## Size", "Mine.\n\n## Size"))
    trainer.card_results = [EvalResult("text-classification", "glue", "GLUE", "accuracy", 0.5)]
    trainer.create_model_card(tags=["second"], language="en", license="mit")
    data = ModelCard(card(tmp_path)).data
    assert "Mine." in card(tmp_path)
    assert {"first", "second"} <= set(data.tags)
    assert (data.license, data.language) == ("mit", ["en"])
    assert [result.metric_value for result in data.eval_results] == [0.5]


def test_a_fully_dynamic_model_has_a_card_without_a_picture(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(make_model("bert-full"))
    trainer.create_model_card()
    assert "A fully dynamic network" in card(tmp_path)
    assert names(tmp_path) == {"README.md", "partition_report.json"}


def test_a_model_of_another_kind_has_the_stock_card(make_trainer: Make, tmp_path: Path) -> None:
    make_trainer(make_dense("bert")).create_model_card()
    assert "padnet" not in card(tmp_path)
    assert "generated_from_trainer" in card(tmp_path)
    assert names(tmp_path) == {"README.md"}


def test_an_adapter_gets_pefts_card_and_its_files_appear_together(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_model("bert-unit").save_pretrained("org/base")
    model = AutoModelForSequenceClassification.from_pretrained("org/base")
    trainer = make_trainer(get_peft_model(model, lora_config(model, rank=2)), max_steps=1)
    trainer.save_model()
    trainer.create_model_card()
    assert "library_name: peft" in card(tmp_path)
    saved = names(tmp_path)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= saved

    def fail(folder: str, **options: object) -> None:
        Path(folder, "adapter_config.json").write_text("{}")
        raise OSError("no space left")

    before = (tmp_path / "org" / "run" / "adapter_config.json").read_text()
    monkeypatch.setattr(trainer.model, "save_pretrained", fail)
    with pytest.raises(PADNetError, match=r"no space left; what was there is unchanged"):
        trainer.save_model()
    assert (tmp_path / "org" / "run" / "adapter_config.json").read_text() == before
    assert names(tmp_path) == saved


def test_only_the_first_process_writes(make_trainer: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trainer = make_trainer(make_model("bert-unit"))
    monkeypatch.setattr(trainer, "is_world_process_zero", lambda: False)
    trainer.create_model_card()
    assert not (tmp_path / "org" / "run" / "README.md").exists()


def test_a_job_ends_with_its_results_in_the_card(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(make_model("bert-unit"))
    measured = {"accuracy": 0.123456, "matthews correlation": 0.5}
    share(trainer, measured, task="text-classification", data=("nyu-mll/glue", "GLUE"), split="validation")
    assert "| text-classification | GLUE, validation | accuracy | 0.1235 |" in card(tmp_path)
    results = {result.metric_type: result.metric_value for result in ModelCard(card(tmp_path)).data.eval_results}
    assert results == {"accuracy": 0.1235, "matthews_correlation": 0.5}


@pytest.mark.parametrize("asked", [True, False])
def test_a_job_pushes_if_it_was_asked_to(make_trainer: Make, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, done = make_trainer(make_model("bert-unit")), []
    trainer.args.push_to_hub = asked
    for name in ("push_to_hub", "create_model_card"):
        monkeypatch.setattr(trainer, name, lambda name=name: done.append(name))
    share(trainer, {}, task="text-classification", data=("glue", "GLUE"), split="test")
    assert done == ["push_to_hub" if asked else "create_model_card"]


def test_a_push_that_fails_is_one_error_that_says_how_to_push_later(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer = make_trainer(make_model("bert-unit"))
    trainer.args.push_to_hub, trainer.hub_model_id = True, "org/run"
    monkeypatch.setattr(trainer, "push_to_hub", in_a_library("def run(): raise ConnectionError('the line is dead')"))
    message = r"the run is saved in .*run, but was not pushed: the line is dead; push it with padnet push .*run org/run"
    with pytest.raises(PADNetError, match=message):
        share(trainer, {}, task="text-classification", data=("glue", "GLUE"), split="test")
