import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers.trainer_callback import TrainerState

from padnet_hf import PADNetError
from padnet_hf.jobs.output_folder import (
    check_output_dir,
    check_same_run,
    find_checkpoint,
    lacking,
    remove_earlier_run,
    write_run_config,
)


def write_checkpoint(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    save_file({"weight": torch.zeros(64)}, checkpoint / "model.safetensors")
    (checkpoint / "config.json").write_text('{"model_type": "bert"}')
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.zeros(64)}, checkpoint / name)
    TrainerState(global_step=step).save_to_json(str(checkpoint / "trainer_state.json"))
    return checkpoint


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_last_is_the_highest_step_not_the_last_in_the_alphabet(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        write_checkpoint(tmp_path, step)
    assert find_checkpoint("last", str(tmp_path)) == str(tmp_path / "checkpoint-100")


@pytest.mark.parametrize("damage", [None, "no", "cut"])
def test_a_checkpoint_of_an_adapter_is_whole_with_the_adapters_weights(damage: str | None, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 10)
    weights = (checkpoint / "model.safetensors").rename(checkpoint / "adapter_model.safetensors")
    (checkpoint / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (checkpoint / "config.json").unlink()
    if damage:
        (Path.unlink if damage == "no" else cut)(weights)
    assert lacking(checkpoint) == (None if damage is None else "the model weights cannot be read")


def test_a_checkpoint_of_an_adapter_needs_the_adapters_configuration(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 10)
    (checkpoint / "model.safetensors").rename(checkpoint / "adapter_model.safetensors")
    (checkpoint / "adapter_config.json").write_text("{")
    assert lacking(checkpoint) == "adapter_config.json cannot be read"


FILES = {
    "state": "trainer_state.json",
    "weights": "model.safetensors",
    "configuration": "config.json",
    "optimizer": "optimizer.pt",
    "scheduler": "scheduler.pt",
    "random state": "rng_state.pth",
}


@pytest.mark.parametrize("damage", [*(f"{how} {what}" for how in ("no", "cut") for what in FILES), "missing shard"])
def test_a_checkpoint_whose_saving_was_interrupted_is_passed_over(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_checkpoint(tmp_path, 10)
    broken = write_checkpoint(tmp_path, 20)
    if damage == "missing shard":
        (broken / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
        )
    else:
        how, what = damage.split(maxsplit=1)
        (Path.unlink if how == "no" else cut)(broken / FILES[what])
    lack = lacking(broken)
    assert lack.endswith(" cannot be read")
    assert find_checkpoint("last", str(tmp_path)) == str(tmp_path / "checkpoint-10")
    assert caplog.messages == [f"{broken} is passed over, it is not complete: {lack}"]
    with pytest.raises(PADNetError, match=rf"checkpoint-20 is not a complete checkpoint \({re.escape(lack)}\)"):
        find_checkpoint(str(broken), str(tmp_path))


def test_without_a_complete_checkpoint_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        PADNetError, match="no complete checkpoint; leave the option out and add --overwrite_output_dir"
    ):
        find_checkpoint("last", str(tmp_path))


def test_the_same_run_may_go_on_for_longer(tmp_path: Path) -> None:
    write_run_config(str(tmp_path), {"seed": 1, "num_train_epochs": 1.0, "moe_layers": [0, 2]}, "0")
    checkpoint = write_checkpoint(tmp_path, 1)
    check_same_run({"seed": 1, "num_train_epochs": 3.0, "moe_layers": [0, 2]}, str(checkpoint))


@pytest.mark.parametrize("asked", [{"seed": 1}, {"seed": 1, "dynamic_ratio": 0.3}])
def test_another_run_is_refused_by_the_option_that_differs(asked: dict, tmp_path: Path) -> None:
    write_run_config(str(tmp_path), {"seed": 1, "dynamic_ratio": 0.5}, "0")
    checkpoint = write_checkpoint(tmp_path, 1)
    with pytest.raises(PADNetError, match=rf"--dynamic_ratio is {asked.get('dynamic_ratio')}.*trained with 0\.5"):
        check_same_run(asked, str(checkpoint))


def test_a_checkpoint_without_its_run_config_is_taken_as_it_is(tmp_path: Path) -> None:
    check_same_run({"seed": 1}, str(write_checkpoint(tmp_path, 1)))


def test_run_config_is_whole_or_not_there(tmp_path: Path) -> None:
    write_run_config(str(tmp_path / "new"), {"seed": 1}, "1.2.3")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run_config.json"]
    written = json.loads((tmp_path / "new" / "run_config.json").read_text())
    assert written == {"padnet_hf": "1.2.3", "options": {"seed": 1}}
    with pytest.raises(TypeError):
        write_run_config(str(tmp_path / "new"), {"seed": object()}, "1.2.3")
    assert json.loads((tmp_path / "new" / "run_config.json").read_text()) == written


def test_another_number_of_processes_may_go_on_if_a_step_takes_as_many_samples(tmp_path: Path) -> None:
    options = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "samples_per_step": 16}
    write_run_config(str(tmp_path), options, "0")
    checkpoint = str(write_checkpoint(tmp_path, 1))
    check_same_run(options | {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}, checkpoint)
    with pytest.raises(PADNetError, match=r"a step would take 8 samples, but .* so that their product is 16$"):
        check_same_run(options | {"samples_per_step": 8}, checkpoint)


def test_a_run_that_recorded_no_samples_per_step_is_held_to_its_batch_size(tmp_path: Path) -> None:
    write_run_config(str(tmp_path), {"per_device_train_batch_size": 8}, "0")
    checkpoint = str(write_checkpoint(tmp_path, 1))
    check_same_run({"per_device_train_batch_size": 8, "samples_per_step": 8}, checkpoint)
    with pytest.raises(PADNetError, match="--per_device_train_batch_size is 4"):
        check_same_run({"per_device_train_batch_size": 4, "samples_per_step": 4}, checkpoint)


def test_what_a_killed_process_left_half_written_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "_unfinished").mkdir()
    (tmp_path / "_unfinished.run_config.json").touch()
    check_output_dir(str(tmp_path), making=True, resuming=False, overwrite=False)
    check_output_dir(str(tmp_path), making=True, resuming=False, overwrite=True)


def test_a_removal_that_was_interrupted_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"run_config.json", "config.json", "all_results.json"}
    for name in names:
        (tmp_path / name).touch()
    removed = []

    def stop_at_the_last(path: Path) -> None:
        if len(removed) == len(names) - 1:
            raise KeyboardInterrupt
        removed.append(path.name)

    monkeypatch.setattr(Path, "unlink", stop_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        remove_earlier_run(str(tmp_path))
    assert names - set(removed) == {"run_config.json"}


def test_removing_an_earlier_run_leaves_everything_else(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1)
    for name in ("run_config.json", "model.safetensors", "all_results.json", "predict_results_sst2.txt", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "data").mkdir()
    remove_earlier_run(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "notes.md"]


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '"bert"'])
def test_a_configuration_that_names_no_model_is_none(content: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path, 10)
    (checkpoint / "config.json").write_text(content)
    assert lacking(checkpoint) == "config.json cannot be read"


def test_an_option_that_only_one_of_two_versions_knows_is_not_compared(tmp_path: Path) -> None:
    write_run_config(str(tmp_path), {"seed": 1, "use_moe": True, "tf32": True}, "0")
    checkpoint = str(write_checkpoint(tmp_path, 1))
    check_same_run({"seed": 1, "use_moe": True, "max_grad_norm": 0.5, "tokenizer_name": "a"}, checkpoint)
    check_same_run({"seed": 1, "use_moe": True, "imp_static_values": "mean"}, checkpoint)
    with pytest.raises(PADNetError, match="--use_moe is None"):
        check_same_run({"seed": 1}, checkpoint)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"options": 3}'])
def test_a_run_config_that_cannot_be_read_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "run_config.json").write_text(content)
    with pytest.raises(PADNetError, match=r"run_config\.json cannot be read: remove it"):
        check_same_run({"seed": 1}, str(write_checkpoint(tmp_path, 1)))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(folder: Path) -> None:
        check_output_dir(str(folder), making=True, resuming=False, overwrite=False)

    (tmp_path / "file").touch()
    check(tmp_path / "new" / "run")
    with pytest.raises(PADNetError, match=r"run cannot be made or written to: .*file is no folder"):
        check(tmp_path / "file" / "run")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as for anyone but root
    with pytest.raises(PADNetError, match="is no folder that you may write to"):
        check(tmp_path / "new" / "run")


def test_a_run_may_begin_with_what_lies_in_its_folder_and_does_not_remove_it(tmp_path: Path) -> None:
    source = tmp_path / "trained"
    source.mkdir()
    check_output_dir(str(tmp_path), making=True, resuming=False, overwrite=False, source=str(source / "checkpoint-3"))
    with pytest.raises(PADNetError, match="holds other results"):
        check_output_dir(str(tmp_path), making=True, resuming=False, overwrite=False, source="elsewhere")
    write_run_config(str(tmp_path), {}, "1")
    remove_earlier_run(str(tmp_path), str(source))
    assert [path.name for path in tmp_path.iterdir()] == ["trained"]
    remove_earlier_run(str(tmp_path))
    assert not any(tmp_path.iterdir())
