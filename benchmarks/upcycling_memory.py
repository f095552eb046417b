"""Peak memory of upcycling and partitioning a language model from a checkpoint, each in a process of its own.

    python -m benchmarks.upcycling_memory --copies 8 --layers 16 --criterion snip

The model has the shape of Llama 3.2 1B and random weights in bfloat16; it is partitioned by unit, with one text of 64
tokens if the criterion looks at gradients. "passes" is one forward and backward pass with that text, each gradient
dropped when it is complete: what torch takes by itself. The peak is the process's largest resident set
beyond what it was after the imports; it is compared with the larger of source and result.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from padnet_hf import PADLlamaForCausalLM, PartitionConfig, partition
from padnet_hf.method.layer import pad_weights
from padnet_hf.method.scoring import no_trace

_SHAPE = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
_SHAPE |= {"vocab_size": 128_256, "head_dim": 64, "tie_word_embeddings": True, "max_position_embeddings": 8192}
_STAGES = ("upcycle", "passes", "partition")


def _make(folder: str, layers: int) -> int:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(LlamaConfig(**_SHAPE, num_hidden_layers=layers, dtype="bfloat16"))
    torch.set_default_dtype(before)
    model.save_pretrained(folder, max_shard_size="1GB")
    return _bytes_of(model)


def _bytes_of(model: torch.nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def _peak() -> int:
    """The process's largest resident set so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _measure(folder: str, copies: int, stage: str, criterion: str) -> dict[str, int]:
    """Sizes in bytes of one stage, which begins with upcycling."""
    start = _peak()
    model = PADLlamaForCausalLM.from_dense(folder, num_experts=copies)
    held = {"fully dynamic": _bytes_of(model)}
    text = torch.randint(_SHAPE["vocab_size"], (1, 64))
    batch = {"input_ids": text, "labels": text}
    if stage == "passes":
        scored = [weight.dynamic for weight in pad_weights(model).values()]
        for parameter in scored:
            parameter.register_post_accumulate_grad_hook(_drop)
        with no_trace(model, scored):
            model(**batch).loss.backward()
    if stage == "partition":
        config = PartitionConfig(criterion=criterion, granularity="unit", scope="layer")
        partition(model, [batch], config, progress=False)
        held["partitioned"] = _bytes_of(model)
    return held | {"peak": _peak() - start}


def _drop(parameter: torch.Tensor) -> None:
    parameter.grad = None


def _in_a_process(*arguments: str) -> dict[str, int]:
    argv = [sys.executable, "-m", "benchmarks.upcycling_memory", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print, or, with --stage, do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--criterion", default="snip")
    parser.add_argument("--stage", choices=["make", *_STAGES])
    parser.add_argument("--folder")
    asked = parser.parse_args()
    if asked.stage == "make":
        print(json.dumps({"bytes": _make(asked.folder, asked.layers)}))
        return
    if asked.stage:
        print(json.dumps(_measure(asked.folder, asked.copies, asked.stage, asked.criterion)))
        return
    folder = tempfile.mkdtemp()
    try:
        shared = ("--folder", str(Path(folder)), "--layers", str(asked.layers), "--copies", str(asked.copies))
        shared += ("--criterion", asked.criterion)
        source = _in_a_process("--stage", "make", *shared)["bytes"]
        for stage in _STAGES:
            found = _in_a_process("--stage", stage, *shared)
            larger = max(source, found["fully dynamic"])
            print(
                f"{stage}: source {source / 1e9:.2f} GB, fully dynamic {found['fully dynamic'] / 1e9:.2f} GB, "
                f"peak {found['peak'] / 1e9:.2f} GB = {found['peak'] / larger:.2f} of the larger"
            )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
