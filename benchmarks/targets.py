"""What the benches are expected to show, as data, and whether they did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from benchmarks.comparison import Case, Comparison, describe, format_value, scale
from benchmarks.results import table
from benchmarks.timing import Quartiles, differences, quartiles


@dataclass(frozen=True)
class Target:
    """A number that a median must not exceed, in every case that it speaks of.

    Attributes:
        what: it in words.
        part, quantity: which comparisons.
        variants: what is judged; of several, the best one in each case.
        most: the number: a ratio, or seconds or bytes.
        baseline: what it is compared with.
        by: the ratio to the baseline, the difference from it, or the value by itself.
        equal, least: which cases: fields that must have this value, or at least this one.
    """

    what: str
    part: str
    variants: tuple[str, ...]
    most: float
    baseline: str = ""
    quantity: str = "seconds"
    by: Literal["ratio", "difference", "value"] = "ratio"
    equal: Mapping[str, str | int | float] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)

    def speaks_of(self, comparison: Comparison) -> bool:
        """Whether it is about this comparison."""
        return (
            (self.part, self.quantity) == (comparison.part, comparison.quantity)
            and any(name in comparison.values for name in self.variants)
            and (not self.baseline or self.baseline in comparison.values)
            and all(comparison.case.get(name) == value for name, value in self.equal.items())
            and all(comparison.case.get(name, 0) >= value for name, value in self.least.items())
        )

    def found_in(self, comparison: Comparison) -> Quartiles:
        """What the best of its variants has in this comparison."""
        return min((self._of(name, comparison) for name in self.variants if name in comparison.values), key=_median)

    def _of(self, variant: str, comparison: Comparison) -> Quartiles:
        if self.by == "ratio":
            return comparison.ratio(variant, self.baseline)
        values = comparison.values[variant]
        return differences(values, comparison.values[self.baseline]) if self.by == "difference" else quartiles(values)

    def show(self, value: float) -> str:
        """A number of its kind, with its unit."""
        if self.by == "ratio":
            return f"{value:.2f}"
        sign = "+" if self.by == "difference" and value >= 0 else ""
        return f"{sign}{format_value(value, self.quantity)} {scale(self.quantity)[0]}"


class Verdict(NamedTuple):
    """A target, what was found in the cases it speaks of, and whether all medians keep to it (None: not measured)."""

    target: Target
    found: list[tuple[Case, Quartiles]]
    met: bool | None

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers."""
        found = [{"case": dict(case), **spread._asdict()} for case, spread in self.found]
        return {
            "what": self.target.what,
            "most": self.target.most,
            "by": self.target.by,
            "met": self.met,
            "found": found,
        }


def judge(targets: Sequence[Target], comparisons: Sequence[Comparison]) -> list[Verdict]:
    """A verdict for each target."""
    verdicts = []
    for target in targets:
        found = [(c.case, target.found_in(c)) for c in comparisons if target.speaks_of(c)]
        met = all(spread.median <= target.most for _, spread in found) if found else None
        verdicts.append(Verdict(target, found, met))
    return verdicts


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """A row per target: at most what, found what in the worst case with its quartiles, and the range over all cases."""
    rows = []
    for target, found, met in verdicts:
        shown = target.show
        row = [target.what, f"<= {shown(target.most)}", "", "", "", "not measured"]
        if found:
            case, worst = max(found, key=lambda one: one[1].median)
            medians = [spread.median for _, spread in found]
            cases = f"{len(found)}: {shown(min(medians))} to {shown(max(medians))}" if len(found) > 1 else "1"
            row[2:] = [f"{shown(worst.median)} [{shown(worst.lower)}, {shown(worst.upper)}]", describe(case), cases]
            row.append("met" if met else "**NOT MET**")
        rows.append(row)
    return table(("what", "target", "found [quartiles], worst case", "which is", "cases", ""), rows)


def _median(spread: Quartiles) -> float:
    return spread.median
