import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transformers import TrainingArguments

from padnet_hf import PADNetError
from padnet_hf.jobs.command_line import option
from padnet_hf.jobs.late_partition import Before, run_in_order
from padnet_hf.jobs.output_folder import RUN_CONFIG
from padnet_hf.jobs.partition_options import PartitionOptions, partition_config


@dataclass
class Model:
    model_name_or_path: str | None = "dense"
    tokenizer_name: str | None = "words"
    cache_dir: str | None = "cache"


@dataclass
class Data:
    overwrite_output_dir: bool = False


@dataclass
class Lora:
    lora: bool = False


@dataclass
class Pad(PartitionOptions):
    use_moe: bool = option("Fully dynamic.", False)
    num_experts: int | None = None

    dynamic_option: ClassVar[str] = "use_moe"


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    """The arguments of a script; options of the Trainer and of the partition."""

    def build(
        pad: dict[str, Any] | None = None, *, lora: bool = False, overwrite: bool = False, **training: Any
    ) -> Any:
        given = {"use_pad": True, "partition_when": "after", "dynamic_ratio": 0.3, "num_experts": 4} | (pad or {})
        options = {"output_dir": str(tmp_path / "out"), "do_train": True, "do_eval": True, "use_cpu": True} | training
        return Model(), Data(overwrite), Lora(lora), Pad(**given), TrainingArguments(**options)

    return build


class Script:
    """Does what a run does to its folder, until it is `killed_at` a step; remembers what it was asked for."""

    def __init__(self, killed_at: str | None = None) -> None:
        self.calls: list[tuple[Any, Before | None]] = []
        self.killed_at = killed_at

    def __call__(self, arguments: Any, before: Before | None = None) -> dict[str, float]:
        self.calls.append((arguments, before))
        training, name = arguments[-1], "second" if before else "first"
        folder = Path(training.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        if not (training.resume_from_checkpoint or (name == "first" and not training.do_train)):
            (folder / RUN_CONFIG).write_text(json.dumps({"options": recorded(arguments)}))
        if training.do_train:
            (folder / "checkpoint-2").mkdir(exist_ok=True)
            self.stop(f"{name} trains")
            (folder / "train_results.json").write_text("{}")
        self.stop(f"{name} trained")
        (folder / "eval_results.json").write_text('{"eval_accuracy": 0.5}')
        return {"eval_accuracy": 0.6}

    def stop(self, step: str) -> None:
        if step == self.killed_at:
            raise KeyboardInterrupt

    @property
    def said(self) -> list[tuple[Any, ...]]:
        """Of each call: folder, network, trained or not, steps, resumed or not, earlier results overwritten or not."""
        return [
            (
                Path(arguments[-1].output_dir).name,
                arguments[3].variant,
                arguments[-1].do_train,
                arguments[-1].max_steps,
                arguments[-1].resume_from_checkpoint,
                arguments[1].overwrite_output_dir,
            )
            for arguments, _ in self.calls
        ]


def recorded(arguments: Any) -> dict[str, Any]:
    model, _, _, pad, training = arguments
    partition_config(pad, training.seed)
    return {"model_name_or_path": model.model_name_or_path, "seed": training.seed, "use_pad": pad.use_pad}


def test_a_partition_before_training_is_one_run(asked: Any) -> None:
    for when in (None, "before"):
        script = Script()
        arguments = asked({"partition_when": when})
        assert run_in_order(script, arguments, recorded) == {"eval_accuracy": 0.6}
        assert script.calls == [(arguments, None)]


@pytest.mark.parametrize("steps", [None, 7])
def test_a_late_partition_is_two_runs(asked: Any, steps: int | None) -> None:
    arguments = asked({"recovery_steps": steps}, max_steps=50, do_predict=True)
    script = Script()
    assert run_in_order(script, arguments, recorded) == {"eval_accuracy": 0.6}
    (first, nothing), (second, before) = script.calls
    assert script.said == [
        ("trained", "fully dynamic", True, 50, None, False),
        ("out", "partitioned", bool(steps), steps or -1, None, False),
    ]
    assert nothing is None
    assert before == Before(first[-1].output_dir, {"eval_accuracy": 0.5})
    assert first[3] == Pad(use_moe=True, num_experts=4)
    assert second[3] == Pad(use_pad=True, dynamic_ratio=0.3, num_experts=4)
    assert second[0] == Model(first[-1].output_dir, tokenizer_name=Model().tokenizer_name)
    assert (first[-1].do_predict, second[-1].do_predict) == (False, True)
    assert arguments[-1].max_steps == 50


RECOVERY = ("out", "partitioned", True, 3)


@pytest.mark.parametrize(
    ("killed_at", "then"),
    [
        ("first trains", [("trained", "fully dynamic", True, -1, "last", False), (*RECOVERY, None, False)]),
        ("first trained", [("trained", "dense", False, -1, None, False), (*RECOVERY, None, False)]),
        ("second trains", [(*RECOVERY, "last", False)]),
        ("second trained", [(*RECOVERY, "last", False)]),
    ],
)
def test_a_killed_run_goes_on_where_it_was(asked: Any, killed_at: str, then: list[tuple[Any, ...]]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_in_order(Script(killed_at), asked({"recovery_steps": 3}), recorded)
    script = Script()
    run_in_order(script, asked({"recovery_steps": 3}, resume_from_checkpoint="last"), recorded)
    assert script.said == then


def test_without_recovery_a_killed_second_run_begins_anew(asked: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_in_order(Script("second trained"), asked(), recorded)
    script = Script()
    run_in_order(script, asked(resume_from_checkpoint="last"), recorded)
    assert script.said == [("out", "partitioned", False, -1, None, True)]


def test_results_of_a_run_that_is_replaced_are_never_gone_on_with(asked: Any, tmp_path: Path) -> None:
    run_in_order(Script(), asked({"recovery_steps": 3}), recorded)
    with pytest.raises(KeyboardInterrupt):
        run_in_order(Script("first trained"), asked({"recovery_steps": 3}, overwrite=True), recorded)
    later = os.stat(tmp_path / "out" / RUN_CONFIG).st_mtime_ns + 10**9  # file systems may round times
    os.utime(tmp_path / "out" / "trained" / "train_results.json", ns=(later, later))
    script = Script()
    run_in_order(script, asked({"recovery_steps": 3}, resume_from_checkpoint="last"), recorded)
    assert script.said[-1] == ("out", "partitioned", True, 3, None, True)


def test_a_finished_training_is_taken_only_for_the_same_options(asked: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_in_order(Script("second trains"), asked({"recovery_steps": 3}), recorded)
    with pytest.raises(PADNetError, match=r"--seed is 5, but .* was trained with 42"):
        run_in_order(Script(), asked({"recovery_steps": 3}, seed=5, resume_from_checkpoint="last"), recorded)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"do_train": False}, "--partition_when after has nothing to come after: add --do_train"),
        ({"lora": True}, "--partition_when after and --lora exclude each other"),
        ({"resume_from_checkpoint": "out/checkpoint-5"}, "is out/checkpoint-5, but .* it must be `last`"),
    ],
)
def test_combinations_that_are_refused(asked: Any, given: dict[str, Any], message: str) -> None:
    script = Script()
    with pytest.raises(PADNetError, match=message):
        run_in_order(script, asked(**given), recorded)
    assert not script.calls


def test_a_mistake_in_the_partition_shows_before_anything_is_trained(asked: Any) -> None:
    script = Script()
    for options in ({"dynamic_ratio": 1.5}, {"masks": "per_copy", "granularity": "unit"}, {"recovery_steps": -1}):
        with pytest.raises(PADNetError, match=r"1\.5|static_values='none'|at least 0"):
            run_in_order(script, asked(options), recorded)
    assert not script.calls


def test_other_results_are_protected_before_anything_is_trained(asked: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RUN_CONFIG).write_text("{}")
    with pytest.raises(PADNetError, match="holds other results"):
        run_in_order(script := Script(), asked(), recorded)
    assert not script.calls
