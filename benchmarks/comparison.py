"""What every bench is made of: jobs, each of which measures several variants of one thing side by side."""

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from benchmarks.device import Clock
from benchmarks.results import table
from benchmarks.timing import Quartiles, quartiles, ratios

Case = Mapping[str, str | int | float]
Measured = Mapping[str, Mapping[str, list[float]]]
"""Quantity, "seconds", DEVIATION or one in bytes -> variant -> a value per round."""

DEVIATION = "relative deviation"
"""A quantity without a unit: how far something is from what it should be."""


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    Attributes:
        part: of the bench; each part becomes a table, its cases the rows.
        case: what is the same for all variants, sizes first of all.
        measure: (rounds, clock) -> values of all variants, round by round.
        rounds: that count, unless the command line says otherwise.
        baselines: variants that the others are compared with, the most important one first.
        work: how much one call works through and what that is, (4096, "tokens"), to give a rate.
    """

    part: str
    case: Case
    measure: Callable[[int, Clock], Measured]
    rounds: int
    baselines: tuple[str, ...]
    work: tuple[int, str] | None = None


@dataclass
class Comparison:
    """One quantity of a finished job.

    Attributes:
        values: variant -> a value per round, in seconds, bytes or by themselves.
        measured: date and load of the machine when it was done.
    """

    part: str
    case: Case
    quantity: str
    values: dict[str, list[float]]
    baselines: Sequence[str]
    work: Sequence[Any] | None = None
    measured: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def all_of(cls, job: Job, measured: Measured) -> list[Self]:
        """A comparison for each quantity that the job gave; one without any baseline is compared with its first."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        when = {"date": now, "load_average": list(os.getloadavg())}
        found = []
        for quantity, values in measured.items():
            baselines = [name for name in job.baselines if name in values] or [next(iter(values))]
            found.append(cls(job.part, job.case, quantity, dict(values), baselines, job.work, when))
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(**{name: found[name] for name in cls.__dataclass_fields__})

    def to_json(self) -> dict[str, Any]:
        """All fields, with medians and ratios for readers without this code."""
        medians = {name: quartiles(values).median for name, values in self.values.items()}
        spread = {
            name: {baseline: self.ratio(name, baseline)._asdict() for baseline in self.baselines}
            for name in self.values
        }
        return {**asdict(self), "medians": medians, "ratios": spread}

    def ratio(self, variant: str, baseline: str) -> Quartiles:
        """Of the values of one variant to those of another, round by round."""
        return ratios(self.values[variant], self.values[baseline])

    def title(self) -> str:
        """The part, the quantity unless it is time, and the case in words."""
        quantity = "" if self.quantity == "seconds" else f", {self.quantity}"
        return f"{self.part}{quantity}: {describe(self.case)}"

    def table(self) -> str:
        """A row per variant: median, rate, and the ratio to every baseline with its quartiles."""
        rate = [f"{self.work[1]}/s"] if self.work and self.quantity == "seconds" else []
        unit, _ = scale(self.quantity)
        rows = []
        for name, values in self.values.items():
            median = quartiles(values).median
            rates = [f"{self.work[0] / median:,.0f}"] if rate else []
            rows.append([name, format_value(median, self.quantity), *rates])
            rows[-1] += [str(self.ratio(name, baseline)) for baseline in self.baselines]
        return table(("", unit, *rate, *(f"to {baseline}" for baseline in self.baselines)), rows)


def describe(case: Case) -> str:
    """A case in words: numbers with their names, which are plurals or hold for one as well; words by themselves."""
    return ", ".join(v if isinstance(v, str) else f"{v:,} {_noun(name, v)}" for name, v in case.items())


def _noun(name: str, value: float) -> str:
    return name if value != 1 else name.removesuffix("es" if name == "batches" else "s")


def scale(quantity: str) -> tuple[str, float]:
    """The unit that a quantity is shown in, and how many of the unit it is measured in that takes."""
    return {"seconds": ("ms", 1e-3), DEVIATION: ("millionths", 1e-6)}.get(quantity, ("MiB", 2**20))


def format_value(value: float, quantity: str) -> str:
    """A value in the unit of `scale`, three digits at least."""
    value /= scale(quantity)[1]
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def part_table(comparisons: Sequence[Comparison]) -> str:
    """All cases of one part and quantity: the first baseline's median, and every other variant's ratio to it."""
    quantity, baseline = comparisons[0].quantity, comparisons[0].baselines[0]
    names = list(dict.fromkeys(name for c in comparisons for name in c.values if name != baseline))
    rows = []
    for comparison in comparisons:
        median = format_value(quartiles(comparison.values[baseline]).median, quantity)
        found = [str(comparison.ratio(name, baseline)) if name in comparison.values else "" for name in names]
        rows.append([describe(comparison.case), median, *found])
    return table((comparisons[0].part, f"{baseline}, {scale(quantity)[0]}", *names), rows)


def by_part(comparisons: Sequence[Comparison]) -> dict[tuple[str, str], list[Comparison]]:
    """Comparisons by part and quantity, in the order in which they were measured."""
    parts: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        parts.setdefault((comparison.part, comparison.quantity), []).append(comparison)
    return parts
