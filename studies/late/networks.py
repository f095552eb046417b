"""The networks that are partitioned late: which there are, and how the examples' own scripts train them."""

import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

TEXTS = ("mrpc", "cola", "stsb", "sst2")
LANGUAGE = ("lm_upcycled", "lm_scratch")
"""Language models of `make lm`'s shape and text: copies of a trained dense one, trained on; or trained from scratch."""

EXPERTS = ("--use_moe", "--num_experts", "8", "--num_experts_per_tok", "2")
GLUE = (
    *("--do_train", "--do_eval", "--max_steps", "300", "--per_device_train_batch_size", "16", "--max_seq_length", "64"),
    *("--learning_rate", "1e-4", "--lr_scheduler_type", "linear", "--train_sampling_strategy", "group_by_length"),
    *("--save_strategy", "no", "--report_to", "none", "--overwrite_output_dir"),
)
DENSE_STEPS, MORE_STEPS = 600, 400
"""Of the dense language model, and of what is made of it; from scratch it is both together."""


@dataclass(frozen=True)
class Case:
    """One trained mixture of experts."""

    task: str
    seed: int

    @property
    def is_language(self) -> bool:
        return self.task in LANGUAGE


def trained(case: Case, work: Path, data_dir: Path | None) -> dict[str, Path]:
    """Folders of the fully dynamic network and of the dense one of as many steps, which are trained if need be.

    work: folder of all networks. data_dir: of GLUE's tasks, a folder of parquet for each.
    """
    return _language(case, work) if case.is_language else _classifiers(case, work, data_dir)


def _classifiers(case: Case, work: Path, data_dir: Path | None) -> dict[str, Path]:
    """MiniLM, upcycled before the training."""
    found = {}
    for name, more in (("fully dynamic", EXPERTS), ("dense", ())):
        found[name] = folder = work / f"{case.task}-{case.seed}" / name.replace(" ", "_")
        if not (folder / "eval_results.json").exists():
            words = ["--task_name", case.task, "--data_dir", str(data_dir / case.task), "--seed", str(case.seed)]
            script = str(EXAMPLES / "glue" / "run_glue.py")
            subprocess.run([sys.executable, script, *words, *GLUE, *more, "--output_dir", str(folder)], check=True)
    return found


def _language(case: Case, work: Path) -> dict[str, Path]:
    """The standard library's source as text, by the stages of the demonstration. The dense start is shared."""
    sys.path.insert(0, str(EXAMPLES / "language_modeling"))
    demo = import_module("stdlib_demo")
    folder, options = work / f"lm-{case.seed}", demo.DemoArguments()
    demo.prepare_text(options, folder)
    new, seed = demo.new_model(options, folder), case.seed
    if case.task == "lm_scratch":
        steps = DENSE_STEPS + MORE_STEPS
        found = {"fully dynamic": folder / "scratch", "dense": folder / "scratch_dense"}
        demo.train_stage(options, found["fully dynamic"], steps, "2e-3", seed, *new, *EXPERTS)
        demo.train_stage(options, found["dense"], steps, "2e-3", seed, *new)
        return found
    found = {"fully dynamic": folder / "upcycled", "dense": folder / "dense_on"}
    demo.train_stage(options, folder / "dense", DENSE_STEPS, "2e-3", seed, *new)
    start = ("--model_name_or_path", str(folder / "dense"))
    demo.train_stage(options, found["fully dynamic"], MORE_STEPS, "1e-3", seed + 1, *start, *EXPERTS)
    demo.train_stage(options, found["dense"], MORE_STEPS, "1e-3", seed + 1, *start)
    return found
