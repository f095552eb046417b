"""run_image_classification.py in two processes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.examples.vision.conftest import folders as folders  # the fixtures
from tests.examples.vision.conftest import tiny_resnet as tiny_resnet
from tests.forked import Script

pytestmark = pytest.mark.slow


def test_images_partition_alike_and_are_all_counted_in_two_processes(
    forks: object, tiny_resnet: str, folders: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    paths, out, alone = folders(count=7), tmp_path / "out", tmp_path / "alone"
    common = ["--model_name_or_path", tiny_resnet, "--train_dir", paths["train"], "--validation_dir"]
    common += [paths["validation"], "--use_pad", "--do_train", "--do_eval", "--max_steps", "3", "--use_cpu"]
    common += ["--mixup_alpha", "0", "--horizontal_flip", "False", "--crop_padding", "0", "--disable_tqdm", "True"]
    training = Script(forks, "run_image_classification", common, tmp_path)
    training.run("--per_device_train_batch_size", "2", "--imp_batches", "3", "--output_dir", str(alone))
    first, second = training.run(
        "--per_device_train_batch_size", "2", "--imp_batches", "3", "--output_dir", str(out), processes=2
    )
    configs = [json.loads((folder / "config.json").read_text()) for folder in (alone, out)]
    assert configs[0]["partition"]["mask_hash"] == configs[1]["partition"]["mask_hash"]
    classes = json.loads((out / "per_class_accuracy.json").read_text())
    assert {name: values["images"] for name, values in classes.items()} == {"dark": 7, "light": 7}
    assert "What this run made" in first.out
    assert second.out == ""
    weights = load_file(out / "model.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values() if tensor.is_floating_point())
