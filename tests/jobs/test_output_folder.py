import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers.trainer_callback import TrainerState

from padnet_hf import PADNetError
from padnet_hf.jobs.output_folder import (
    check_same_run,
    find_checkpoint,
    is_complete,
    remove_earlier_run,
    write_run_config,
)


def write_checkpoint(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    save_file({"weight": torch.zeros(64)}, checkpoint / "model.safetensors")
    TrainerState(global_step=step).save_to_json(str(checkpoint / "trainer_state.json"))
    return checkpoint


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_last_is_the_highest_step_not_the_last_in_the_alphabet(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        write_checkpoint(tmp_path, step)
    assert find_checkpoint("last", str(tmp_path)) == str(tmp_path / "checkpoint-100")


@pytest.mark.parametrize("damage", ["no state", "cut state", "no weights", "cut weights", "missing shard"])
def test_a_checkpoint_whose_saving_was_interrupted_is_passed_over(damage: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 10)
    broken = write_checkpoint(tmp_path, 20)
    state, weights = broken / "trainer_state.json", broken / "model.safetensors"
    if damage == "missing shard":
        (broken / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
        )
    elif damage.startswith("no"):
        (state if "state" in damage else weights).unlink()
    else:
        cut(state if "state" in damage else weights)
    assert not is_complete(broken)
    assert find_checkpoint("last", str(tmp_path)) == str(tmp_path / "checkpoint-10")
    with pytest.raises(PADNetError, match="checkpoint-20 is not a complete checkpoint"):
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


def test_removing_an_earlier_run_leaves_everything_else(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1)
    for name in ("run_config.json", "model.safetensors", "all_results.json", "predict_results_sst2.txt", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "data").mkdir()
    remove_earlier_run(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "notes.md"]
