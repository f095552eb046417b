"""A language model of Python's standard library, dense and partitioned, side by side: what `make lm` runs.

The library's source is the text. A tokenizer is trained on it, and a small dense Llama from scratch. That one is then
trained on twice with the same data: as it is, and as a partially dynamic mixture of experts, which leaves as a stock
checkpoint. Every training is a run of run_clm.py in a folder of its own. README.md beside this file has more.
"""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

import run_clm
from byte_bpe import train_tokenizer
from comparison import print_comparison
from padnet_hf import PADNetError
from padnet_hf.export.stock import export_stock
from padnet_hf.hub.whole_files import filled_whole
from padnet_hf.jobs.command_line import option, parse_options, run_command
from padnet_hf.jobs.output_folder import (
    check_output_dir,
    check_same_run,
    lacking,
    remove_earlier_run,
    write_run_config,
)
from padnet_hf.version import __version__
from stdlib_text import write_splits

logger = logging.getLogger("stdlib_demo")

TEXT, TOKENIZER, DENSE, DENSE_ON, PAD, STOCK = FOLDERS = ("text", "tokenizer", "dense", "dense_on", "pad", "stock")
PARTITION = ("--use_pad", "--granularity", "unit", "--dynamic_ratio", "0.5", "--num_experts", "8",
             "--num_experts_per_tok", "2", "--imp_batches", "8")  # fmt: skip
_SAY_NOTHING = ("output_dir", "overwrite_output_dir", "resume_from_checkpoint")
_MARK = "eval_results.json"
"""What run_clm.py writes when a model is trained, saved and measured."""


@dataclass
class DemoArguments:
    """What is made, and how long it is trained."""

    output_dir: str = option("Folder of all stages.", "runs/lm")
    overwrite_output_dir: bool = option("Remove an earlier run from --output_dir first.", False)
    resume_from_checkpoint: str | None = option("`last` goes on with the stage, and the step, that was interrupted.")
    max_steps: int = option("Steps of the dense model from scratch.", 600)
    more_steps: int | None = option("Steps of both models after that (a third of --max_steps).")
    vocab_size: int = option("Words of the tokenizer.", 4096)
    block_size: int = option("Tokens of a block, and positions of the model.", 256)
    config_overrides: str = option(
        "Shape of the model, a Llama.",
        "hidden_size=192,intermediate_size=512,num_hidden_layers=6,num_attention_heads=6,tie_word_embeddings=true",
    )
    max_files: int | None = option("Use only so many files of the library, of those trained and those measured on.")
    max_eval_samples: int = option("Held-out blocks to measure on, drawn always alike.", 300)


def main(argv: list[str] | None = None) -> None:
    """Run the stages that are not done yet, and print the comparison. Raises PADNetError for any mistake."""
    (options,) = parse_options((DemoArguments,), argv, {})
    _check(options)
    folder = Path(options.output_dir)
    _start(options, folder)
    prepare_text(options, folder)
    train_stage(options, folder / DENSE, options.max_steps, "2e-3", 1, *new_model(options, folder))
    more = options.more_steps or max(1, options.max_steps // 3)
    start = ["--model_name_or_path", str(folder / DENSE)]
    train_stage(options, folder / DENSE_ON, more, "1e-3", 2, *start)
    train_stage(options, folder / PAD, more, "1e-3", 2, *start, *PARTITION)
    rows = {f"dense, {options.max_steps} steps": folder / DENSE, f"dense, {more} more": folder / DENSE_ON}
    print_comparison(rows | {f"partitioned, {more} more": folder / PAD})
    _export(folder / PAD, folder / STOCK)


def _check(options: DemoArguments) -> None:
    for name, lowest in (("max_steps", 1), ("more_steps", 1), ("vocab_size", 257), ("max_files", 1)):
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise PADNetError(f"--{name} is {value}, but must be at least {lowest}: give such a number")
    if options.resume_from_checkpoint not in (None, "last"):
        raise PADNetError(
            f"--resume_from_checkpoint is {options.resume_from_checkpoint!r}, but every stage has checkpoints of its "
            "own: give `last`"
        )


def _start(options: DemoArguments, folder: Path) -> None:
    """Make the folder ours, or go on with it. Raises PADNetError if it holds something else."""
    resuming, overwrite = options.resume_from_checkpoint is not None, options.overwrite_output_dir
    check_output_dir(str(folder), making=True, resuming=resuming, overwrite=overwrite)
    asked = {name: value for name, value in asdict(options).items() if name not in _SAY_NOTHING}
    asked["steps"] = asked.pop("max_steps")  # which may differ in a run that goes on, but learning rates follow from it
    if resuming:
        check_same_run(asked, str(folder / DENSE))
    else:
        for name in FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        remove_earlier_run(str(folder))
    write_run_config(str(folder), asked, __version__)


def prepare_text(options: DemoArguments, folder: Path) -> None:
    """Write the library's source, and train the tokenizer, where they are not there yet."""
    if not (folder / TEXT / "validation.jsonl").exists():  # the last that is written
        write_splits(folder / TEXT, options.max_files)
    if not (folder / TOKENIZER).exists():
        with filled_whole(folder / TOKENIZER) as unfinished:
            train_tokenizer(_texts(folder / TEXT / "train.jsonl"), options.vocab_size).save_pretrained(unfinished)


def new_model(options: DemoArguments, folder: Path) -> tuple[str, ...]:
    """Options of run_clm.py for a new model of the shape that was asked for."""
    shape = f"{options.config_overrides},max_position_embeddings={options.block_size}"
    return ("--model_type", "llama", "--config_overrides", shape, "--tokenizer_name", str(folder / TOKENIZER))


def _texts(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as rows:
        for row in rows:
            yield json.loads(row)["text"]


def train_stage(options: DemoArguments, folder: Path, steps: int, rate: str, seed: int, *which: str) -> None:
    """One run of run_clm.py, unless it is done; from its last whole checkpoint if it was interrupted."""
    if (folder / _MARK).exists():
        logger.info("%s is done already", folder)
        return
    text = folder.parent / TEXT
    data = ["--train_file", str(text / "train.jsonl"), "--validation_file", str(text / "validation.jsonl")]
    data += ["--text_column", "text", "--block_size", str(options.block_size)]
    data += ["--max_eval_samples", str(options.max_eval_samples)]
    schedule = ["--per_device_train_batch_size", "4", "--max_steps", str(steps), "--learning_rate", rate]
    schedule += ["--warmup_steps", str(max(1, steps // 10))]
    schedule += ["--lr_scheduler_type", "cosine", "--weight_decay", "0.1", "--adam_beta2", "0.95", "--seed", str(seed)]
    keep = ["--output_dir", str(folder), "--save_steps", "100", "--save_total_limit", "1"]
    if any(lacking(checkpoint) is None for checkpoint in folder.glob("checkpoint-*")):
        keep += ["--resume_from_checkpoint", "last"]
    elif folder.exists():
        keep += ["--overwrite_output_dir"]
    run_clm.main([*which, *data, *schedule, *keep, "--do_train", "--do_eval"])


def _export(pad: Path, stock: Path) -> None:
    """Write the stock checkpoint, and print what it makes of `def ` in a process without padnet_hf."""
    if not stock.exists():
        model, tokenizer = AutoModelForCausalLM.from_pretrained(pad), AutoTokenizer.from_pretrained(pad)
        report = export_stock(model, stock, processing_class=tokenizer)
        logger.info("%s holds the same as a stock checkpoint: %s", stock, report)
    program = [sys.executable, str(Path(__file__).with_name("complete.py")), str(stock), "def "]
    written = subprocess.run(program, stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True).stdout
    print(f"{stock} without padnet_hf, after 'def ':\n\n{written}")


if __name__ == "__main__":
    run_command(main)
