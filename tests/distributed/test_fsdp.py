"""Sharded training with FSDP2 through the Trainer.

accelerate shards on accelerators only: on CPUs it copies the whole model to every process without a word, which the
scripts refuse. The tests without a GPU tell accelerate that CPUs are accelerators too; all else is its own code.
"""

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, DistributedType, PartialState
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback

import padnet_hf.jobs.run_request
from tests.distributed.test_ddp import KINDS, TWO, assert_same
from tests.forked import Script

pytestmark = pytest.mark.slow

AUTO = {"run_glue": AutoModelForSequenceClassification, "run_clm": AutoModelForCausalLM}


def sharded_by(layer: str) -> tuple[str, ...]:
    """The options that shard a model, layer by layer."""
    return "--fsdp", "--fsdp_config", json.dumps({"version": 2, "transformer_layer_cls_to_wrap": [layer]})


FSDP = {"run_glue": sharded_by("BertLayer"), "run_clm": sharded_by("LlamaDecoderLayer")}


def allow_cpus() -> None:
    """Let accelerate shard on CPUs."""
    start = AcceleratorState.__init__

    def with_sharding(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        start(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = with_sharding
    padnet_hf.jobs.run_request.check_processes = lambda training: None


class CheckSharded(TrainerCallback):
    """Fails unless every parameter is sharded when training begins: what the partition made, not what it replaced."""

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        assert model.is_partitioned
        parameters = list(model.parameters())
        assert all(isinstance(parameter, DTensor) for parameter in parameters)
        own = sum(parameter.to_local().numel() for parameter in parameters)
        assert 0.4 < own / sum(parameter.numel() for parameter in parameters) < 0.6


def shard(script: ModuleType) -> None:
    """What each process of a sharded run does before it."""
    if not torch.accelerator.is_available():
        allow_cpus()
    build = script.build_trainer

    def checked(*args: Any) -> Any:
        trainer = build(*args)
        trainer.add_callback(CheckSharded())
        return trainer

    script.build_trainer = checked


@pytest.mark.parametrize("kind", [*KINDS, "own masks"])
def test_sharded_training_equals_copied_training_and_loads_in_one_process(
    kind: str, runs: dict[str, Script], tmp_path: Path
) -> None:
    masks = ("--masks", "per_copy") if kind == "own masks" else ()
    kind = "element" if kind == "own masks" else kind
    training, copied, sharded = runs[kind], tmp_path / "copied", tmp_path / "out"
    training.run(*TWO, *masks, "--output_dir", str(copied), processes=2)
    training.run(*TWO, *masks, *FSDP[training.name], processes=2, change=shard)
    assert_same(copied, sharded)

    models = [AUTO[training.name].from_pretrained(folder).eval() for folder in (copied, sharded)]
    with torch.no_grad():
        first, second = (model(torch.arange(8).view(2, 4)).logits for model in models)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["element", "text"])
def test_sharded_training_goes_on_from_its_checkpoint_and_only_sharded(
    kind: str, runs: dict[str, Script], tmp_path: Path
) -> None:
    training, out = runs[kind], tmp_path / "out"
    fsdp = FSDP[training.name]
    training.run(*TWO, *fsdp, processes=2, change=shard)
    whole = load_file(out / "model.safetensors")
    resumed = [*TWO, "--resume_from_checkpoint", str(out / "checkpoint-2")]
    first = training.start(*resumed, processes=2)[0]
    assert "was saved with --fsdp: resume it in the same way" in first.err
    training.run(*resumed, *fsdp, processes=2, change=shard)
    torch.testing.assert_close(load_file(out / "model.safetensors"), whole, rtol=0, atol=0)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="on an accelerator it has an effect")
@pytest.mark.parametrize("kind", ["element", "text"])
def test_sharding_that_would_not_happen_is_refused(kind: str, runs: dict[str, Script], tmp_path: Path) -> None:
    training = runs[kind]
    first = training.start(*FSDP[training.name], processes=2)[0]
    assert "error: --fsdp has no effect on a CPU" in first.err
    assert not (tmp_path / "out").exists()


def ask_for_tensor_parallelism(script: ModuleType) -> None:
    """What `accelerate launch --use_parallelism_config --parallelism_config_tp_size 2` says to its processes."""
    os.environ |= {"ACCELERATE_USE_PARALLELISM_CONFIG": "true", "PARALLELISM_CONFIG_TP_SIZE": "2"}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="accelerate takes accelerators")
def test_tensor_parallelism_on_cpus_is_one_error_before_the_partition(runs: dict[str, Script], tmp_path: Path) -> None:
    first = runs["text"].start(processes=2, change=ask_for_tensor_parallelism)[0]
    assert first.code == 2
    assert first.err.splitlines()[-1].startswith("error: the Trainer refuses these options: ParallelismConfig is only")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.accelerator.device_count() < 2, reason="needs two GPUs: not run where there are fewer")
def test_sharded_training_on_two_gpus_loads_in_one_process(forks: object, common: list[str], tmp_path: Path) -> None:
    training = Script(forks, "run_glue", [*common, "--output_dir", str(tmp_path / "out")], tmp_path)
    training.run(*TWO, *FSDP["run_glue"], processes=2, change=shard)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.is_partitioned
