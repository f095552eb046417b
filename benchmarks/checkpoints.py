"""Checkpoints of BERT-base with 8 experts: bytes, saving, loading, and the first answer of a new process.

Dense BERT, fully dynamic, and partitioned at 0.5, with random weights.

Bytes: the weight file against DESIGN's formula: E copies of every dynamic element and one of every static one, a bit
per position where single elements were chosen, and every other parameter once.
Load: from_pretrained, and reading every value once; "map" is from_pretrained alone, which maps the file into memory and
reads next to nothing of it, whatever its size.
First answer: a process from its start to its end, which imports, loads tokenizer and model, and answers one sentence.
Import: processes that only import: the packages, which bring names when they are first used, and what a training script
uses.
The files lie in a temporary folder and are in the operating system's memory when they are read.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertTokenizerFast

from benchmarks import pad_bert
from benchmarks.comparison import Job, Measured
from benchmarks.device import Clock, device
from benchmarks.fresh import alternating, seconds_of_program
from benchmarks.pad_bert import DENSE, ELEMENT, OURS, UNIT, Shape
from benchmarks.targets import Target
from benchmarks.timing import interleaved
from padnet_hf.method.layer import pad_weights

BYTES, SAVE, LOAD, MAP, ANSWER, IMPORT = "file", "save", "load", "map", "first answer", "import"
FORMULA, FILE = "formula", "weight file"
VARIANTS = (DENSE, OURS, UNIT, ELEMENT)
ALONE, WITH_OURS = "transformers", "transformers and padnet_hf"
THEIR_NAMES, OUR_NAMES = "transformers' BERT and Trainer", "padnet_hf's BERT and Trainer"
IMPORTS = {
    ALONE: "import transformers",
    WITH_OURS: "import transformers, padnet_hf",
    THEIR_NAMES: "from transformers import BertForSequenceClassification, Trainer",
    OUR_NAMES: "from padnet_hf import PADBertForSequenceClassification, PADTrainer",
}
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film", "it", "takes", "all", "four", "leads")
PROGRAM = """
import sys, torch
{extra}
from transformers import AutoModelForSequenceClassification, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], device_map=sys.argv[2])
with torch.no_grad():
    print(model(**tokenizer("a fine film it takes all four leads", return_tensors="pt").to(sys.argv[2])).logits)
"""
TARGETS = [
    Target(f"{name}: bytes to the formula", BYTES, (FILE,), 1.01, FORMULA, "bytes", equal={"variant": name})
    for name in VARIANTS
] + [
    *(
        Target(f"load of {name}, to fully dynamic", LOAD, (name,), most, OURS)
        for name, most in ((UNIT, 0.70), (ELEMENT, 1.00))
    ),
    Target(
        "import padnet_hf over import transformers alone",
        *(IMPORT, (WITH_OURS,), 0.150, ALONE),
        by="difference",
    ),
]


def jobs(quick: bool) -> Iterator[Job]:
    """Imports; then everything about checkpoints, which are made when the first job needs them."""
    shape, rounds, names = (pad_bert.QUICK.shape, 1, (OURS, UNIT)) if quick else (Shape(), 5, VARIANTS)
    yield Job(
        IMPORT,
        {"program": "python -c"},
        import_modules,
        1 if quick else 11,
        (ALONE, THEIR_NAMES),
    )
    with tempfile.TemporaryDirectory() as name:
        case = {"model": f"BERT, {shape.num_hidden_layers} layers {shape.hidden_size}/{shape.intermediate_size}"}
        folder = Path(name)
        for variant in names:
            yield Job(
                BYTES, {"variant": variant, **case}, partial(measure_bytes, folder, variant, shape), 1, (FORMULA,)
            )
        for part, measure in ((SAVE, save), (LOAD, load), (MAP, map_alone), (ANSWER, answer)):
            yield Job(part, case, partial(measure, folder, names, shape), rounds, (OURS, DENSE))


def saved(folder: Path, variant: str, shape: Shape) -> Path:
    """The folder of a checkpoint, made if it is not there yet."""
    target = folder / variant
    if not target.exists():
        torch.manual_seed(0)
        pad_bert.build(variant, shape).save_pretrained(target)
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(target)
    return target


def formula(model: nn.Module) -> int:
    """Bytes that the values of a float32 model take."""
    weights = pad_weights(model).values()
    others = {id(p): p for p in model.parameters()}
    elements, bits = 0, 0
    for weight in weights:
        for parameter in (weight.dynamic, weight.static):
            others.pop(id(parameter), None)
        total, dynamic = weight.shape.numel(), weight.num_dynamic_elements
        elements += weight.num_copies * dynamic + total - dynamic
        bits += total if weight.granularity == "element" and 0 < dynamic < total else 0
    return 4 * (elements + sum(p.numel() for p in others.values())) + bits // 8


def measure_bytes(folder: Path, variant: str, shape: Shape, rounds: int, clock: Clock) -> Measured:
    """Bytes of the weight files, and by the formula."""
    with torch.device("meta"):
        expected = formula(pad_bert.build(variant, shape))
    found = sum(file.stat().st_size for file in saved(folder, variant, shape).glob("*.safetensors"))
    return {"bytes": {FORMULA: [expected], FILE: [found]}}


def save(folder: Path, names: tuple[str, ...], shape: Shape, rounds: int, clock: Clock) -> Measured:
    """Seconds of save_pretrained."""
    models = {name: _load(saved(folder, name, shape)) for name in names}
    return _timed(
        {name: partial(model.save_pretrained, folder / name) for name, model in models.items()}, rounds, clock
    )


def load(folder: Path, names: tuple[str, ...], shape: Shape, rounds: int, clock: Clock) -> Measured:
    """Seconds of from_pretrained and of reading every value once."""

    def read(path: Path) -> None:
        for tensor in _load(path).state_dict().values():
            tensor.sum()

    return _timed({name: partial(read, saved(folder, name, shape)) for name in names}, rounds, clock)


def map_alone(folder: Path, names: tuple[str, ...], shape: Shape, rounds: int, clock: Clock) -> Measured:
    """Seconds of from_pretrained alone."""
    return _timed({name: partial(_load, saved(folder, name, shape)) for name in names}, rounds, clock)


def answer(folder: Path, names: tuple[str, ...], shape: Shape, rounds: int, clock: Clock) -> Measured:
    """Seconds of processes that answer one sentence."""
    commands = {}
    for name in names:
        program = PROGRAM.format(extra="" if name == DENSE else "import padnet_hf")
        commands[name] = ["-c", program, str(saved(folder, name, shape)), device().type]
    return _of_programs(commands, rounds, clock)


def import_modules(rounds: int, clock: Clock) -> Measured:
    """Seconds of processes that import and end."""
    return _of_programs({name: ["-c", statement] for name, statement in IMPORTS.items()}, rounds, clock)


def _load(folder: Path) -> nn.Module:
    return AutoModelForSequenceClassification.from_pretrained(folder, device_map=device().type)


def _timed(calls: dict[str, Callable[[], object]], rounds: int, clock: Clock) -> Measured:
    return {"seconds": interleaved(calls, rounds, clock)}


def _of_programs(commands: dict[str, list[str]], rounds: int, clock: Clock) -> Measured:
    """Seconds of processes that run in turns."""

    def seconds(arguments: list[str]) -> dict[str, float]:
        return {"seconds": seconds_of_program(arguments, clock)}

    return alternating({name: partial(seconds, arguments) for name, arguments in commands.items()}, rounds)
