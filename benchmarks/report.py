"""Results as Markdown, printed or put into documents, so that no figure is copied by hand."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.comparison import Comparison, by_part, part_table
from benchmarks.suite import BENCHES, bench_named
from benchmarks.targets import judge, verdict_table

TARGETS = "targets"


def sections(folder: Path) -> dict[str, str]:
    """Markdown by name: the targets of all benches that have results in the folder, and the tables of each bench."""
    tables, verdicts = {}, []
    for name in BENCHES:
        path = folder / f"{name}.json"
        found = json.loads(path.read_text()) if path.exists() else {}
        if "comparisons" not in found:  # none, or of an earlier form
            continue
        comparisons = [Comparison.from_json(one) for one in found["comparisons"]]
        verdicts += judge(bench_named(name).TARGETS, comparisons)
        parts = by_part(comparisons).items()
        shown = [
            part_table(group) if quantity == "seconds" else f"In {quantity}:\n\n{part_table(group)}"
            for (_, quantity), group in parts
        ]
        tables[name] = "\n\n".join([_origin(found), *shown])
    return {TARGETS: verdict_table(verdicts), **tables}


def as_document(found: Mapping[str, str]) -> str:
    """All sections below each other."""
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in found.items())


def fill(path: Path, found: Mapping[str, str], source: str = "benchmarks") -> None:
    """Put sections between `<!-- SOURCE: NAME -->` and `<!-- /SOURCE -->`; one without results stays."""
    block_of_source = re.compile(rf"(<!-- {source}: (\w+) -->\n).*?(<!-- /{source} -->)", re.DOTALL)

    def replaced(block: re.Match[str]) -> str:
        begin, name, end = block.groups()
        return f"{begin}\n{found[name]}\n\n{end}" if name in found else block[0]

    path.write_text(block_of_source.sub(replaced, path.read_text()))


def _origin(found: Mapping[str, Any]) -> str:
    """Where results come from, in a sentence."""
    where = found["environment"]
    threads = f"{where['threads']} thread{'s' if where['threads'] > 1 else ''}"
    return (
        f"{where['processor']}, {threads} of {where['cores']} cores, torch {where['torch']}, transformers "
        f"{where['transformers']}, padnet_hf {where['padnet_hf']}, {found['options']['clock']} time, "
        f"{where['date'][:10]}, load {where['load_average'][0]:.1f} at the start."
    )
