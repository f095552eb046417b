"""Tables of docs/families.md: lines of every family, differences after conversion, sizes, transformers' own tests.

    python -m benchmarks.families                                       print them
    python -m benchmarks.families --fill docs/families.md               put them into the document
    python -m benchmarks.families --tally tally.json --fill docs/...    with what `make peer-suite` counted
        (make peer-suite ARGS="--tally-json tally.json")

Differences are measured on small random models of every class. Sizes are those of the usual checkpoint's shape, which
is built on the meta device.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

import padnet_hf
from benchmarks.report import as_document, fill
from padnet_hf import PartitionConfig, partition
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.known import module_of
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.models.registry import families, family_of, pad_class_for
from tests.models.samples import (
    COPIES,
    MIXTURES,
    inputs_of,
    labels_of,
    outputs_of,
    pad_class,
    small_dense,
    with_equal_copies,
)

ROOT = Path(padnet_hf.__file__).parents[1]
_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1}
_DEBERTA = {
    "vocab_size": 128100, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "relative_attention": True, "position_buckets": 256, "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "type_vocab_size": 0, "position_biased_input": False,
}  # fmt: skip
_ALBERT = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_ELECTRA = {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_LLAMA = {
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip
_QWEN2 = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2,
}  # fmt: skip
_QWEN3 = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8,
}  # fmt: skip
_QWEN3_MOE = {"num_hidden_layers": 48, "head_dim": 128, "norm_topk_prob": True}

CHECKPOINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-base-uncased": ("bert", {}),
    "roberta-base": ("roberta", {"vocab_size": 50265, **_ROBERTA}),
    "xlm-roberta-base": ("xlm-roberta", {"vocab_size": 250002, **_ROBERTA}),
    "camembert-base": ("camembert", {"vocab_size": 32005, **_ROBERTA}),
    "electra-base": ("electra", _ELECTRA),
    "distilbert-base": ("distilbert", {}),
    "albert-base-v2": ("albert", _ALBERT),
    "albert-xxlarge-v2": ("albert", {}),
    "ModernBERT-base": ("modernbert", {}),
    "deberta-v3-base": ("deberta-v2", _DEBERTA),
    "vit-base": ("vit", {}),
    "Llama-3.2-1B": ("llama", _LLAMA),
    "Mistral-7B-v0.3": ("mistral", {"vocab_size": 32768, "sliding_window": None}),
    "Qwen2.5-0.5B": ("qwen2", _QWEN2),
    "Qwen3-0.6B": ("qwen3", _QWEN3),
    "Mixtral-8x7B-v0.1": ("mixtral", {}),
    "OLMoE-1B-7B-0924": ("olmoe", {"intermediate_size": 1024}),
    "Qwen3-30B-A3B": ("qwen3_moe", _QWEN3_MOE),
    "resnet-50": ("resnet", {}),
    "mobilenet_v2 1.0": ("mobilenet_v2", {}),
}
"""Name of a usual checkpoint -> its family, and what its configuration has beside transformers' defaults."""


@dataclass(frozen=True)
class Differences:
    """Largest ones of any output of any class of a family, from the dense model's."""

    upcycled: float
    partitioned: float


def differences(dense: str) -> Differences:
    """Over every class, and both granularities at a ratio of one half."""
    upcycled, partitioned = [0.0], [0.0]
    for auto_class in family_of(dense).models:
        stock = small_dense(dense, auto_class)
        model = pad_class(dense, auto_class).from_dense(stock, **COPIES[family_of(dense).copies])
        upcycled.append(_difference(stock, model))
        stock = with_equal_copies(stock)  # of a trained mixture a partition else changes the outputs
        for granularity in ("element", "unit"):
            model = pad_class(dense, auto_class).from_dense(stock, **COPIES[family_of(dense).copies])
            inputs = inputs_of(model)
            labels = labels_of(model, inputs)
            config = PartitionConfig(granularity=granularity, criterion="snip" if labels else "random")
            partition(model, [inputs | labels], config, progress=False)
            partitioned.append(_difference(stock, model))
    return Differences(max(upcycled), max(partitioned))


@torch.no_grad()
def _difference(stock: torch.nn.Module, model: torch.nn.Module) -> float:
    inputs = inputs_of(stock)
    pairs = zip(outputs_of(stock, **inputs), outputs_of(model, **inputs), strict=True)
    return max((one - other).abs().max().item() for one, other in pairs)


def on_meta(checkpoint: str, **fields: Any) -> PADModelMixin:
    """A classifier of the checkpoint's shape, without memory: two labels for texts, 1,000 for images.

    Of a trained mixture the language model.
    """
    dense, own = CHECKPOINTS[checkpoint]
    family = family_of(dense)
    labels = 2 if family.processing_class == "AutoTokenizer" else 1000
    config = family.from_dense(family.dense_class(**own, num_labels=labels), **fields)
    with torch.device("meta"):
        if dense in MIXTURES:
            return family.models["AutoModelForCausalLM"](config)
        return pad_class_for(family.dense_class(), classifier=True)(config)


def half_dynamic(checkpoint: str, granularity: str) -> PADModelMixin:
    """The same with half of the elements or units of every weight dynamic; biases of no unit are dynamic."""
    model = on_meta(checkpoint)
    counts = {}
    for name, weight in pad_weights(model).items():
        candidates = weight.num_candidates(granularity)
        counts[name.removeprefix(f"{model.base_model_prefix}.")] = candidates // 2 if candidates > 1 else candidates
    return on_meta(checkpoint, dynamic_counts=counts, partition={"granularity": granularity})


def family_rows(tally: dict[str, Any]) -> Iterator[list[str]]:
    """One row for every family."""
    for dense, config in tqdm(families().items(), desc="families", unit="family"):
        found = differences(dense)
        lines = len((ROOT / f"{module_of(dense).replace('.', '/')}.py").read_text().splitlines())
        forms = [counts for of_class in tally.get(dense, {}).values() for counts in of_class.values()]
        tests = " / ".join(f"{sum(one[kind] for one in forms):,}" for kind in ("passed", "skipped", "failed"))
        row = [f"`{dense}`", f"`{config.seam.describe().split(' (')[0]}`", str(lines), str(len(config.models))]
        yield [*row, f"{found.upcycled:.1e}", f"{found.partitioned:.1e}", tests if forms else "-"]


def size_rows() -> Iterator[list[str]]:
    """One row for every checkpoint: parameters in millions, and megabytes in float32 of the half dynamic ones."""
    for name in CHECKPOINTS:
        element, unit = (half_dynamic(name, granularity).partition_report() for granularity in ("element", "unit"))
        sizes = (element.dense, element.fully_dynamic, element.current, unit.current)
        work = [f"{report.multiply_adds / 1e6:,.0f}" for report in (unit.dense, unit.fully_dynamic, unit.current)]
        cells = [f"{size.parameters / 1e6:,.1f}M" for size in sizes]
        yield [name, *cells, *(f"{size.bytes / 1e6:,.0f}" for size in sizes[1:3]), *work]


def table(heading: list[str], rows: Iterator[list[str]]) -> str:
    """As Markdown."""
    ruler = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, ruler, *rows))


def sections(tally: dict[str, Any]) -> dict[str, str]:
    """The two tables by name."""
    of_families = ["family", "dynamic are", "lines", "classes", "upcycled", "partitioned", "passed / skipped / failed"]
    of_sizes = ["checkpoint", "dense", "fully dynamic", "element 0.5", "unit 0.5", "MB full", "MB element 0.5"]
    work = ["work dense", "work full", "work unit 0.5"]
    return {"families": table(of_families, family_rows(tally)), "sizes": table([*of_sizes, *work], size_rows())}


def main(argv: list[str] | None = None) -> None:
    """Print the tables, or put them into a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tally", type=Path, metavar="FILE", help="what transformers' own tests came to")
    parser.add_argument("--fill", nargs="+", type=Path, default=[], metavar="FILE", help="documents with our marks")
    options = parser.parse_args(argv)
    found = sections(json.loads(options.tally.read_text())["families"] if options.tally else {})
    for path in options.fill:
        fill(path, found)
    print(as_document(found))


if __name__ == "__main__":
    main()
