"""Cell: one training run as data, complete, so that a result says by itself what it is of."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from padnet_hf import PADNetError

Method = Literal["dense", "dynamic", "pad", "prune", "experts", "experts_used"]
Scales = Literal["learned", "fixed", "dynamic", "static"]

PARTITIONED = ("pad", "prune")
_OF_PARTITION = ("granularity", "criterion", "rounds", "batches", "scope", "static_branch", "scales")
OF_BERT = ("moe_layers", "expert_dropout", "router_noise", "router_init_std", "balance_loss_coef")
"""Fields of a cell that are fields of PADMoEConfig."""


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        task: name in `grounds.TASKS`, which also says the model.
        method: "dense" (for images: a plain network); "dynamic", fully; "pad", partitioned; "prune", partitioned with a
            static part that is zero and stays so; "experts", whole copies fewer from the start; "experts_used", all
            copies in training, then only the most used ones.
        ratio: dynamic ratio; of "experts" and "experts_used" that of the partition whose stored size they match.
        granularity, criterion, rounds, batches, scope, static_branch: fields of PartitionConfig; a criterion of the
            study's own is in studies/cell/criteria.py.
        scales: which scale factors are learned: both from one phi, as in the paper ("learned"), none ("fixed", both 1),
            or one of them, the other being 1.
        seed: of initialisation, data order, dropout, noise and partition.
        train_samples: drawn at random, always the same ones; None for all.
        max_seq_length, learning_rate, epochs, batch_size: of training.
        warm_share: share of the epochs that train the dense model, before it becomes dynamic.
        moe_layers, expert_dropout, router_noise, router_init_std, balance_loss_coef: fields of PADMoEConfig.
        router_lr, phi_lr, expert_lr: learning rates of these parameters, as multiples of `learning_rate`.

    Raises PADNetError for values that have no effect on the method: a cell is to have one name only.
    """

    task: str
    method: Method
    seed: int
    learning_rate: float
    epochs: int
    train_samples: int | None = None
    max_seq_length: int | None = None
    batch_size: int = 32
    ratio: float | None = None
    granularity: Literal["element", "unit"] = "element"
    criterion: str = "snip"
    rounds: int = 3
    batches: int = 8
    scope: Literal["global", "layer"] = "global"
    static_branch: Literal["drop", "keep"] = "drop"
    scales: Scales = "learned"
    warm_share: float = 0.0
    router_noise: bool = True
    router_init_std: float = 0.0
    balance_loss_coef: float = 0.01
    moe_layers: tuple[int, ...] | None = None
    router_lr: float = 1.0
    phi_lr: float = 1.0
    expert_lr: float = 1.0
    expert_dropout: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in (("method", get_args(Method)), ("scales", get_args(Scales))):
            if getattr(self, name) not in allowed:
                raise PADNetError(f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(allowed)}")
        if (self.ratio is None) != (self.method in ("dense", "dynamic")):
            needed = "one, for instance 0.5" if self.ratio is None else "none"
            raise PADNetError(f"ratio is {self.ratio}, but the method {self.method!r} needs {needed}")
        if not 0 <= self.warm_share < 1:
            raise PADNetError(f"warm_share is {self.warm_share}, but must be from 0 to below 1")
        idle = set() if self.method in PARTITIONED else {*_OF_PARTITION, "phi_lr"}
        if self.method == "prune":
            idle |= {"scales", "phi_lr"}
        if self.method == "dense":
            idle |= {*OF_BERT, "router_lr", "expert_lr", "warm_share"}
        for field in fields(self):
            if field.name in idle and getattr(self, field.name) != field.default:
                raise PADNetError(
                    f"{field.name} is {getattr(self, field.name)!r}, which has no effect on {self.method!r}: leave it "
                    "out"
                )

    def changed(self) -> dict[str, Any]:
        """What differs from the defaults, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}

    def key(self) -> str:
        """Twelve hexadecimal digits of its own, for file names."""
        return hashlib.sha256(json.dumps(self.changed(), sort_keys=True).encode()).hexdigest()[:12]

    def title(self) -> str:
        """One line for people."""
        return ", ".join(f"{name} {value}" for name, value in self.changed().items())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self | None:
        """The cell in a row; what it does not say has its default. None if it says more: it is of later code."""
        if not set(found) <= {field.name for field in fields(cls)}:
            return None
        layers = found.get("moe_layers")
        return cls(**{**found, "moe_layers": None if layers is None else tuple(layers)})
