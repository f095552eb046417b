"""PartitionConfig: everything that decides which parameters become dynamic."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

from padnet_hf.errors import PADNetError
from padnet_hf.method.criteria import criterion_named, criterion_names
from padnet_hf.method.layout import Granularity, Masks

Schedule = Literal["exponential", "linear"]
Scope = Literal["global", "layer"]
StaticBranch = Literal["drop", "keep"]
StaticValues = Literal["mean", "fresh", "fisher", "usage", "none"]


_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def bytes_of(size: str | int) -> int:
    """Bytes of a size like "120MB" or 120_000_000. Raises PADNetError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", str(size), re.IGNORECASE)
    if isinstance(size, bool) or match is None:
        raise PADNetError(f"target_size is {size!r}, but must be a number of bytes, or text like '120MB' or '1.5GB'.")
    return round(float(match[1]) * _BYTES[match[2].upper()])


@dataclass(frozen=True)
class PartitionConfig:
    """How `partition` chooses, each field checked on construction. docs/study.md has what each of them is worth.

    Attributes:
        dynamic_ratio: kappa, the share of candidates that stays dynamic, 0 to 1. The paper takes 0.5 for MoE-BERT, 0.3
            for a dynamic ResNet. None: 0.5, or what `target_size` asks for.
        granularity: "element" (the paper's): any single weight may be dynamic; saves memory and bytes. "unit" (ours):
            whole hidden neurons or output channels; saves multiply-adds too.
        masks: "shared" (the paper's): the same elements or units are dynamic in all copies. "per_copy" (ours), for
            copies that differ: each keeps those with the best scores of its own, as many as every other copy. By
            element it takes the one static value elsewhere, Theta_e = M_e * dynamic_e + (1 - M_e) * static; stored are
            E * n dynamic values, N static ones and E * N bits. Under scope "global" the counts of the weights are those
            that keep the largest sum of scores. By unit, with `static_values="none"`, every expert keeps hidden neurons
            of its own and has no others: it is smaller. That changes the model, and is meant for trained experts.
        criterion: "snip" (the paper's), "fisher" (ours), "magnitude", "random" or a name given to `register_criterion`.
            None: "snip" while all copies are equal, as after upcycling, and "fisher" where they differ, as after
            training.
        num_rounds: T, rounds of scoring and selecting; the dynamic share falls towards kappa from round to round (3 is
            ours).
        schedule: "exponential" (the paper's): kappa ** (t / T) after round t. "linear": 1 - (1 - kappa) * t / T.
        scope: "global" (upstream's default): one threshold over all layers. "layer": the same share in every layer (in
            every weight of it, if the granularity is "element"); `for_model` takes it for language models.
        static_branch: what an element already static counts for in later rounds. "drop" (the paper's): nothing.
            "keep": the static value it would get.
        static_values: what a static value begins with. "mean" (ours; the paper leaves it open): the mean of the copies.
            "fisher" (ours, after Matena and Raffel 2022): the mean, in which a unit of a copy counts for the sum of
            its squared gradients. "usage": a copy counts for how often, and with what weight, the batches used it.
            "fresh", for models of which nothing is trained yet: a draw of the model's own initialisation, the first
            copy's, which nothing else keeps. The mean of E draws would have a deviation smaller by the root of E.
            "none": nothing is static, what is not dynamic is left out of its copy (units, masks per copy).
            None: "fisher" where copies differ and the criterion looks at batches, "mean" elsewhere.
        num_batches: batches scored in every round (the same ones); with several processes, on each process (8 is ours).
        seed: of everything random: the criterion "random", and the choice of calibration batches where the caller
            draws them with it.
        target_size: bytes of the whole model's file in its dtype at most, as a number or as text ("120MB", of 10**6
            bytes), instead of a ratio: the largest one that fits is taken.
    """

    dynamic_ratio: float | None = None
    granularity: Granularity = "element"
    masks: Masks = field(default="shared", kw_only=True)
    criterion: str | None = None
    num_rounds: int = 3
    schedule: Schedule = "exponential"
    scope: Scope = "global"
    static_branch: StaticBranch = "drop"
    static_values: StaticValues | None = None
    num_batches: int = 8
    seed: int = 42
    target_size: str | int | None = None

    def __post_init__(self) -> None:
        if self.target_size is not None:
            bytes_of(self.target_size)
            if self.dynamic_ratio is not None:
                raise PADNetError(
                    f"dynamic_ratio {self.dynamic_ratio!r} and target_size {self.target_size!r} exclude each other, "
                    "as the size decides the ratio: leave out one of them."
                )
        elif self.dynamic_ratio is None:
            object.__setattr__(self, "dynamic_ratio", 0.5)
        ratio = self.dynamic_ratio
        if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1):
            raise PADNetError(
                f"dynamic_ratio is {ratio!r}, but it is a share: give a number from 0 (all static) to 1 (all dynamic), "
                "for instance 0.5."
            )
        for name, choices in (
            ("granularity", get_args(Granularity)),
            ("masks", get_args(Masks)),
            ("criterion", criterion_names()),
            ("schedule", get_args(Schedule)),
            ("scope", get_args(Scope)),
            ("static_branch", get_args(StaticBranch)),
            ("static_values", get_args(StaticValues)),
        ):
            value, may_be_none = getattr(self, name), name in ("criterion", "static_values")
            if value not in choices and not (value is None and may_be_none):
                raise PADNetError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, choices))}.")
        for name, lowest in (("num_rounds", 1), ("num_batches", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise PADNetError(f"{name} is {value!r}, but must be a whole number of at least {lowest}.")
        self._check_own_masks()

    def _check_own_masks(self) -> None:
        """Raise PADNetError for what does not go with masks of each copy, or without them."""
        of_each, by_unit, none = self.masks == "per_copy", self.granularity == "unit", self.static_values == "none"
        if of_each and by_unit and not none:
            raise PADNetError(
                "masks 'per_copy' cannot go with granularity 'unit' and static values: a unit that is static for one "
                "copy alone would have to be computed for every copy that is chosen, and nothing would be saved. Leave "
                "units out with static_values='none', or choose granularity 'element' or masks 'shared'."
            )
        if none and not (of_each and by_unit):
            raise PADNetError(
                f"static_values 'none' leaves out of every copy the units that it does not keep, but granularity is "
                f"{self.granularity!r} and masks are {self.masks!r}: add granularity='unit' and masks='per_copy'."
            )
        if none and (self.dynamic_ratio == 0 or self.static_branch == "keep"):
            what = "dynamic_ratio 0" if self.dynamic_ratio == 0 else "static_branch 'keep'"
            remedy = "a ratio above 0" if self.dynamic_ratio == 0 else "'drop'"
            raise PADNetError(f"{what} cannot go with static_values 'none', which leave nothing else: take {remedy}.")
        if of_each and self.criterion is not None and criterion_named(self.criterion).compares_copies:
            raise PADNetError(
                f"the criterion {self.criterion!r} compares copies, so that one by itself has no score, but masks are "
                "'per_copy': choose another criterion, fisher for instance, or masks 'shared'."
            )

    @classmethod
    def for_model(cls, model: object, **given: Any) -> Self:
        """These fields, and for the rest defaults: what the model, or its configuration, says of its kind, or ours.

        A language model's scope is "layer": stock architectures have experts of the same size in all layers.
        """
        return cls(**{**getattr(model, "partition_defaults", {}), **given})

    def resolved(self, copies_differ: bool) -> Self:
        """The same with nothing left to decide, for a model whose copies are all equal or not."""
        criterion = self.criterion or ("fisher" if copies_differ else "snip")
        weighted = copies_differ and criterion_named(criterion).needs_gradients and 0 < self.dynamic_ratio < 1
        return replace(
            self, criterion=criterion, static_values=self.static_values or ("fisher" if weighted else "mean")
        )

    def share_after(self, round_number: int) -> float:
        """Share of all candidates that is still dynamic after round t = 1..T (DESIGN: exactly kappa after the last)."""
        progress = round_number / self.num_rounds
        if progress == 1:
            return self.dynamic_ratio
        if self.schedule == "exponential":
            return self.dynamic_ratio**progress
        return 1 - (1 - self.dynamic_ratio) * progress

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """How a model was partitioned, from `model.config.partition`, which says more than that."""
        return cls(**{one.name: record[one.name] for one in fields(cls) if one.name in record})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
