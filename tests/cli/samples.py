"""What the commands work on: small dense checkpoints in folders, and calibration data in files."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import nn
from transformers import BertForMaskedLM, BertTokenizer, ConvNextImageProcessorPil, PreTrainedModel

from padnet_hf import PADBertForSequenceClassification, PADResNetForImageClassification
from tests.hub.cases import COPIES, make_dense, moved

Padnet = Callable[..., str]
"""Runs the command with these arguments and gives what it prints."""

LABELS = {"bert": ("negative", "neutral", "positive"), "resnet": ("zebra", "ant", "cat")}
PAD_CLASSES = {"bert": PADBertForSequenceClassification, "resnet": PADResNetForImageClassification}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "fine", "film", "dull", "plot", "very", "no", "good", "bad", "the"]
REVIEWS = [
    ("a fine film", 2),
    ("the plot", 1),
    ("very dull", 0),
    ("no good", 0),
    ("a very good plot", 2),
    ("a bad bad film", 0),
    ("the film", 1),
    ("very fine", 2),
]


def named_dense(family: str) -> PreTrainedModel:
    """A dense classifier whose labels have names, and whose batch norms do something."""
    model = moved(make_dense(family))
    model.config.id2label = dict(enumerate(LABELS[family]))
    model.config.label2id = {name: number for number, name in enumerate(LABELS[family])}
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return model


def save_dense(family: str, folder: Path) -> Path:
    """The classifier with its tokenizer or image processor."""
    named_dense(family).save_pretrained(folder)
    return save_processing(family, folder)


def save_processing(family: str, folder: Path) -> Path:
    words = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    processing = BertTokenizer(words) if family == "bert" else ConvNextImageProcessorPil(size={"shortest_edge": 48})
    processing.save_pretrained(folder)
    return folder


def save_masked(folder: Path) -> Path:
    """A dense masked language model with its tokenizer."""
    BertForMaskedLM(make_dense("bert").config).save_pretrained(folder)
    return save_processing("bert", folder)


def save_upcycled(family: str, dense: Path, folder: Path) -> Path:
    """The fully dynamic classifier as Python makes it, with trained-apart copies and its tokenizer or processor."""
    moved(PAD_CLASSES[family].from_dense(dense, **COPIES[family])).save_pretrained(folder)
    return save_processing(family, folder)


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """A file of the kind that its suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif path.suffix == ".parquet":
        from datasets import Dataset

        Dataset.from_list(rows).to_parquet(path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, header, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def make_images() -> list[tuple[Image.Image, str]]:
    """Two images of each class of the ResNet, in the order of their names, which is not the order of its labels."""
    generator = numpy.random.default_rng(0)
    pixels = generator.integers(0, 255, (6, 48, 52, 3), dtype=numpy.uint8)
    names = sorted(LABELS["resnet"] * 2)
    return [(Image.fromarray(image), name) for image, name in zip(pixels, names, strict=True)]


def save_images(folder: Path) -> Path:
    """A folder of images for each class."""
    for number, (image, name) in enumerate(make_images()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        image.save(folder / name / f"{number}.png")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
