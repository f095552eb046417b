import re
from dataclasses import fields
from pathlib import Path

import pytest
from transformers import TrainingArguments

from padnet_hf import PADNetError
from padnet_hf.jobs.output_folder import check_same_run, write_run_config
from padnet_hf.jobs.run_request import (
    _EVALUATIONS,
    _WITHOUT_EFFECT,
    check_measured,
    check_numbers,
    check_run,
    check_same_sharding,
    recorded_training,
    roles_of,
)


def request(**fields: object) -> TrainingArguments:
    return TrainingArguments("no/such/folder", use_cpu=True, **fields)


@pytest.mark.parametrize(
    ("option", "value", "lowest"),
    [
        ("max_train_samples", 0, 1),
        ("max_eval_samples", -3, 1),
        ("per_device_train_batch_size", 0, 1),
        ("learning_rate", -0.1, 0),
        ("learning_rate", float("nan"), 0),
        ("learning_rate", float("inf"), 0),
        ("num_train_epochs", float("inf"), 0),
        ("eval_accumulation_steps", 0, 1),
        ("seed", -1, 0),
    ],
)
def test_numbers_that_are_too_small(option: str, value: float, lowest: int) -> None:
    check_numbers({option: lowest})
    check_numbers({option: None})
    with pytest.raises(PADNetError, match=rf"--{option} is {value}, but must be at least {lowest}"):
        check_numbers({option: value})


def test_a_seed_that_numpy_does_not_take_is_refused() -> None:
    check_numbers({"seed": 2**32 - 1})
    with pytest.raises(PADNetError, match="--seed is 4294967296, but must be at most 4294967295"):
        check_numbers({"seed": 2**32})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("prediction_loss_only", True),
        ("eval_do_concat_batches", False),
        ("batch_eval_metrics", True),
        ("label_names", ["answer"]),
    ],
)
def test_options_that_take_away_what_is_measured_are_refused(option: str, value: object) -> None:
    with pytest.raises(PADNetError, match=rf"--{option} {re.escape(str(value))} .*: leave it out"):
        check_run(request(do_train=True, **{option: value}), {}, {}, making=True, overwrite=False)


def test_a_training_is_led_by_a_metric_that_is_measured() -> None:
    for metric in ("loss", "eval_loss", "f1", "eval_f1", None):
        check_measured(request(metric_for_best_model=metric), ("f1",))
    with pytest.raises(PADNetError, match="--metric_for_best_model is 'accuracy', but must be one of 'loss', 'f1'"):
        check_measured(request(metric_for_best_model="accuracy"), ("f1",))


def test_scores_are_not_smoothed() -> None:
    check_measured(request(label_smoothing_factor=0.1), ())
    check_measured(request(), (), smooths=False)
    with pytest.raises(PADNetError, match=r"--label_smoothing_factor 0\.1 .* a regression has no classes"):
        check_measured(request(label_smoothing_factor=0.1), (), smooths=False)


def test_processes_that_would_train_alone_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    training = request(do_train=True)  # made before: a single process
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PADNetError, match=r"2 processes were started, but each would train alone.*: add --use_cpu"):
        check_run(training, {}, {}, making=True, overwrite=False)


def test_sharding_that_would_not_happen_is_refused() -> None:
    training = request(do_train=True)
    training.fsdp = True  # given as an option it needs several processes
    with pytest.raises(PADNetError, match="--fsdp has no effect on a CPU"):
        check_run(training, {}, {}, making=True, overwrite=False)


def test_a_checkpoint_saved_with_sharding_is_resumed_with_it_and_another_without(tmp_path: Path) -> None:
    training = request(do_train=True)
    check_same_sharding(training, str(tmp_path))
    (tmp_path / "pytorch_model_fsdp.bin").touch()
    with pytest.raises(PADNetError, match="was saved with --fsdp: resume it in the same way"):
        check_same_sharding(training, str(tmp_path))
    training.fsdp = True
    check_same_sharding(training, str(tmp_path))
    (tmp_path / "pytorch_model_fsdp.bin").unlink()
    with pytest.raises(PADNetError, match="was saved without --fsdp"):
        check_same_sharding(training, str(tmp_path))


def test_samples_per_step_are_recorded() -> None:
    training = request(per_device_train_batch_size=3, gradient_accumulation_steps=4)
    assert recorded_training(training)["samples_per_step"] == 12


def test_roles_are_those_asked_for() -> None:
    assert roles_of(request(do_train=True, do_predict=True)) == ["train", "predict"]
    assert roles_of(request(eval_strategy="epoch")) == ["eval"]


def test_a_new_folder_and_something_to_do_are_fine() -> None:
    assert check_run(request(do_train=True), {}, {}, making=True, overwrite=False) is None


@pytest.mark.parametrize(
    ("fields", "numbers", "message"),
    [
        ({}, {}, "nothing to do: add --do_train"),
        ({"do_eval": True, "resume_from_checkpoint": "last"}, {}, "last continues a training: add --do_train"),
        ({"do_train": True}, {"max_train_samples": 0}, "--max_train_samples is 0"),
        ({"do_train": True, "resume_from_checkpoint": "last"}, {}, "holds no complete checkpoint"),
    ],
)
def test_runs_that_may_not_be(fields: dict, numbers: dict, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        check_run(request(**fields), numbers, {}, making=True, overwrite=False)


def test_other_results_are_replaced_only_when_asked_and_only_if_a_run_made_them(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    training = TrainingArguments(str(tmp_path), do_train=True, use_cpu=True)
    with pytest.raises(PADNetError, match="holds other results: add --overwrite_output_dir"):
        check_run(training, {}, {}, making=True, overwrite=False)
    with pytest.raises(PADNetError, match=r"no run_config\.json"):
        check_run(training, {}, {}, making=True, overwrite=True)
    assert check_run(training, {}, {}, making=False, overwrite=False) is None


OTHER_RESULTS = {
    "label_smoothing_factor": 0.3,
    "max_grad_norm": 0.01,
    "neftune_noise_alpha": 5.0,
    "train_sampling_strategy": "group_by_length",
    "adam_beta1": 0.8,
    "adam_beta2": 0.9,
    "adam_epsilon": 1e-3,
    "warmup_steps": 3,
    "lr_scheduler_kwargs": {"num_cycles": 2},
    "optim": "sgd",
    "optim_args": "momentum=0.9",
    "dataloader_drop_last": True,
    "full_determinism": True,
    "use_liger_kernel": True,
    "bf16": True,
    "accelerator_config": {"split_batches": True},
    "data_seed": 3,
}
SAME_RESULTS = {
    "logging_steps": 3,
    "save_steps": 3,
    "per_device_eval_batch_size": 3,
    "eval_steps": 3,
    "eval_strategy": "epoch",
    "metric_for_best_model": "accuracy",
    "report_to": [],
    "run_name": "other",
    "dataloader_num_workers": 2,
    "activation_checkpointing": True,
    "hub_token": "secret",
    "do_predict": True,
}


@pytest.mark.parametrize("option", OTHER_RESULTS)
def test_options_that_change_the_result_are_compared(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.training_args.is_liger_kernel_available", lambda: True, raising=False)
    write_run_config(str(tmp_path), recorded_training(request()), "0")
    asked = recorded_training(request(**{option: OTHER_RESULTS[option]}))
    check_same_run(recorded_training(request()), str(tmp_path / "checkpoint-1"))
    with pytest.raises(PADNetError, match=rf"--{option} is .* was trained with"):
        check_same_run(asked, str(tmp_path / "checkpoint-1"))


@pytest.mark.parametrize("option", SAME_RESULTS)
def test_options_that_only_say_measure_or_keep_are_not_recorded(option: str) -> None:
    assert recorded_training(request(**{option: SAME_RESULTS[option]})) == recorded_training(request())


def test_evaluations_are_compared_where_they_lead_the_learning_rate() -> None:
    def record(**fields: object) -> dict:
        return recorded_training(request(lr_scheduler_type="reduce_lr_on_plateau", eval_strategy="steps", **fields))

    assert record(eval_steps=2) != record(eval_steps=3)
    assert record(eval_steps=2, metric_for_best_model="accuracy") != record(eval_steps=2)


def test_every_option_of_a_later_version_is_recorded_and_all_left_out_exist() -> None:
    names = {field.name for field in fields(TrainingArguments)}
    assert names >= _WITHOUT_EFFECT | _EVALUATIONS
    assert set(recorded_training(request())) == names - _WITHOUT_EFFECT - _EVALUATIONS | {"samples_per_step"}
