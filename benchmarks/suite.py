"""How a bench runs, whichever it is: measure, print, judge, write, draw. Job by job, so that it can be stopped."""

import gc
import json
import math
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from transformers.utils.logging import disable_progress_bar

from benchmarks.comparison import DEVIATION, Comparison, Job, describe
from benchmarks.device import Clock, device
from benchmarks.picture import draw
from benchmarks.results import RESULTS, environment
from benchmarks.targets import Target, Verdict, judge, verdict_table
from padnet_hf.hub.whole_files import write_text

BENCHES = (
    *("experts", "pad_bert", "language_model", "dynamic_conv", "imp", "checkpoints", "serving", "vllm_server", "gpu"),
)
ON_CUDA = ("gpu",)
"""Benches in sizes for a CUDA device, which would take hours on a CPU."""

_PASSING = ("date", "load_average")


class Bench(Protocol):
    """What a bench's module has: a docstring that says what it compares, and these."""

    __doc__: str
    TARGETS: Sequence[Target]

    def jobs(self, quick: bool) -> Iterator[Job]:
        """What to measure; if `quick`, in tiny sizes that only show that everything runs."""


@dataclass(frozen=True)
class Options:
    """How to measure; see the command's help. deadline: by `time.monotonic`, after which no job is started."""

    quick: bool = False
    clock: Clock = "wall"
    rounds: int | None = None
    output: Path = RESULTS
    parts: tuple[str, ...] = ()
    resume: bool = False
    deadline: float = math.inf


def runs_here(name: str, quick: bool) -> bool:
    """Whether a bench can be run on this machine, or in tiny sizes."""
    return quick or name not in ON_CUDA or device().type == "cuda"


def bench_named(name: str) -> Bench:
    """The module of a bench."""
    return import_module(f"benchmarks.{name}")


class Record:
    """The results of one bench, in output/name.json from the first job on."""

    def __init__(self, name: str, options: Options, targets: Sequence[Target]) -> None:
        self.path = options.output / f"{name}.json"
        self.targets = () if options.quick else targets  # tiny sizes say nothing
        self.head = {"environment": environment(), "options": {"quick": options.quick, "clock": options.clock}}
        self.comparisons: list[Comparison] = []
        if options.resume and self.path.exists():
            self._take_over(json.loads(self.path.read_text()))

    def _take_over(self, found: dict[str, Any]) -> None:
        """Go on with earlier results, unless they are of other versions, another machine or other options."""
        if "comparisons" in found and _lasting(found) == _lasting(self.head):
            self.comparisons = [Comparison.from_json(one) for one in found["comparisons"]]

    def has(self, job: Job) -> bool:
        """Whether the job is done."""
        return any((c.part, c.case) == (job.part, job.case) for c in self.comparisons)

    def add(self, comparisons: Sequence[Comparison]) -> None:
        """Keep the results of a job."""
        self.comparisons += comparisons
        self.write()

    def verdicts(self) -> list[Verdict]:
        """What became of the targets so far."""
        return judge(self.targets, self.comparisons)

    def write(self) -> None:
        """All there is so far, as JSON."""
        judged = [verdict.to_json() for verdict in self.verdicts()]
        content = {**self.head, "targets": judged, "comparisons": [c.to_json() for c in self.comparisons]}
        write_text(self.path, json.dumps(content, indent=1) + "\n")


def _lasting(found: dict[str, Any]) -> dict[str, Any]:
    """Environment and options without what passes."""
    lasting = {name: value for name, value in found["environment"].items() if name not in _PASSING}
    return {**lasting, **found["options"]}


def run_bench(name: str, options: Options) -> Path:
    """Run what is asked for of a bench and not done yet; write name.json and name.png; the path of the former.

    A job that fails does not keep the others from being measured: exits with an error after them.
    """
    bench = bench_named(name)
    disable_progress_bar()
    print(f"\n# {name}\n\n{bench.__doc__.strip()}", flush=True)
    record = Record(name, options, bench.TARGETS)
    gc.freeze()  # what is there by now is not looked through after every job
    try:
        left, failed = _measure(bench, record, options)
    finally:
        gc.unfreeze()
    if left:
        print(f"\nleft for want of time: {'; '.join(left)}. `--resume` goes on.", flush=True)
    if verdicts := record.verdicts():
        print(f"\n{verdict_table(verdicts)}")
    picture = record.path.with_suffix(".png")
    if any(comparison.quantity != DEVIATION for comparison in record.comparisons):
        draw(record.comparisons, picture)
        print(f"\nwritten: {record.path}, {picture}", flush=True)
    if failed:
        raise SystemExit(f"error: not measured, for what is told above: {'; '.join(failed)}")
    return record.path


def _measure(bench: Bench, record: Record, options: Options) -> tuple[list[str], list[str]]:
    """Record every job that is wanted and not done; names of those left for want of time, and of those that failed."""
    left, failed = [], []
    for job in bench.jobs(options.quick):
        wanted = not options.parts or any(job.part.startswith(part) for part in options.parts)
        if not wanted or record.has(job):
            continue
        if time.monotonic() >= options.deadline:
            left.append(f"{job.part} ({describe(job.case)})")
            continue
        try:
            comparisons = Comparison.all_of(job, job.measure(options.rounds or job.rounds, options.clock))
        except Exception:
            traceback.print_exc()
            failed.append(f"{job.part} ({describe(job.case)})")
            continue
        finally:
            gc.collect()  # models hold themselves in circles, and the next job needs their memory
        record.add(comparisons)
        for comparison in comparisons:
            print(f"\n{comparison.title()}\n\n{comparison.table()}", flush=True)
    return left, failed
