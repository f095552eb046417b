"""What every PAD model adds to a transformers model: its partition, its report, the way from dense and back."""

from collections.abc import Mapping
from os import PathLike
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.initialization import copy_, no_init_weights, normal_, zeros_

from padnet_hf.errors import PADNetError
from padnet_hf.hub.access import repository_name
from padnet_hf.method.layer import pad_layers, pad_weights
from padnet_hf.method.packing import first_positions
from padnet_hf.method.report import PartitionReport, report
from padnet_hf.method.weight import PADWeight
from padnet_hf.models.checkpoint import PADCheckpointMixin
from padnet_hf.models.upcycle import load_copies, merged_state
from padnet_hf.version import __version__


class PADModelMixin(PADCheckpointMixin):
    """Base class of PAD models, before transformers' own base class of the family.

    A subclass names its stock counterpart (`dense_class`), and how the names of its PADWeights differ from the names of
    the dense weights (`dense_names`).
    """

    dense_class: ClassVar[type[PreTrainedModel]]
    dense_names: ClassVar[Mapping[str, str]] = {}

    # Partition

    @property
    def is_partitioned(self) -> bool:
        return self.config.partition is not None

    def partition_report(self) -> PartitionReport:
        """Dynamic ratio, parameters, bytes and multiply-adds of every PAD layer and of the whole model, as it is."""
        return report(self, self.config.partition)

    def record_partition(self, record: Mapping[str, Any]) -> None:
        """Write into the configuration what a checkpoint needs to be loaded: counts, and how they came about."""
        self.config.dynamic_counts = {
            self._name_in_base(name): weight.num_dynamic for name, weight in pad_weights(self).items()
        }
        self.config.partition = {**record, "padnet_hf_version": __version__}

    def cache_built_weights(self, cache: bool = True) -> None:
        """In evaluation without gradients, keep element-partitioned weights built (more memory, less time) or not."""
        for weight in pad_weights(self).values():
            weight.cache = cache

    def _name_in_base(self, name: str) -> str:
        return name.removeprefix(f"{self.base_model_prefix}.")

    def _make_room(self) -> None:
        """Give every PADWeight the form that `config.dynamic_counts` says. Raises PADNetError where they disagree."""
        counts, weights = self.config.dynamic_counts, pad_weights(self)
        if counts is None:
            return
        granularity = (self.config.partition or {}).get("granularity", "element")
        names = {self._name_in_base(name) for name in weights}
        if not isinstance(counts, dict) or set(counts) != names:
            wrong = sorted(set(counts) ^ names)[:3] if isinstance(counts, dict) else repr(counts)
            raise PADNetError(
                f"dynamic_counts in the configuration must give one count for each of the model's {len(names)} PAD "
                f"weights; missing or unknown: {wrong}. Restore the config.json that was saved with the checkpoint."
            )
        for name, weight in weights.items():
            try:
                weight.make_room(counts[self._name_in_base(name)], granularity)
            except PADNetError as error:
                raise PADNetError(f"dynamic_counts of {self._name_in_base(name)!r}: {error}") from None

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PADWeight):
            for parameter in (module.dynamic, module.static):
                if parameter is not None:
                    is_bias = len(module.shape) == 1
                    zeros_(parameter) if is_bias else normal_(parameter, std=self._initial_std(module))
            if module.phi is not None:
                zeros_(module.phi)
            if module.mask_bits is not None:
                total = module.num_candidates(module.granularity)
                copy_(module.mask_bits, first_positions(module.num_dynamic, total))

    def _initial_std(self, weight: PADWeight) -> float:
        return self.config.initializer_range

    # From dense and back

    @classmethod
    def from_dense(cls, dense: PreTrainedModel | str | PathLike[str], **config: Any) -> Self:
        """Upcycle a dense checkpoint: every weight of a layer that becomes dynamic is copied, the rest taken over.

        The result is fully dynamic and gives the dense model's logits.

        Args:
            dense: a stock transformers model (loaded with whatever options its source needs), or the name or folder of
                a checkpoint. A model of another class than this one's counterpart (say, one without a head) is taken
                as far as it goes, the rest is initialised.
            config: fields of the configuration: the number of copies (num_experts, num_kernels), what is to be
                dynamic (moe_layers, dynamic_layers), num_labels, id2label, ...

        Raises:
            PADNetError: the checkpoint is of another family, or a value is out of range.
        """
        stock = dense.config if isinstance(dense, PreTrainedModel) else AutoConfig.from_pretrained(dense)
        family = cls.dense_class.config_class.model_type
        if stock.model_type != family:
            raise PADNetError(
                f"{cls.__name__}.from_dense takes a checkpoint of model type {family!r}, but {_describe(dense)} is of "
                f"type {stock.model_type!r}."
            )
        name = dense.name_or_path if isinstance(dense, PreTrainedModel) else dense
        target = cls.config_class.from_dense(stock, **{"base_model": repository_name(name)} | config)
        source = _load_dense(cls.dense_class, dense, target)
        with no_init_weights():  # every value but the routers' is loaded
            model = cls(target).to(source.dtype)
        model.tie_weights()
        load_copies(model, source.state_dict(), cls.dense_names)
        for layer in pad_layers(model).values():  # what routes is new; children first, as transformers does it
            layer.apply(lambda module: None if isinstance(module, PADWeight) else model._init_weights(module))
        return model.to(source.device).train(source.training)

    def to_dense(self) -> PreTrainedModel:
        """A stock transformers model with the same logits.

        Raises PADNetError unless the copies of every weight are equal: nothing dynamic is left (dynamic_ratio 0), or
        the copies have not been trained apart yet.
        """
        state = merged_state(self, self.dense_names)
        dense = self.dense_class(self.config.to_dense()).to(self.dtype)
        dense.load_state_dict(state)
        return dense.to(self.device).train(self.training)


def _describe(dense: PreTrainedModel | str | PathLike[str]) -> str:
    return f"this {type(dense).__name__}" if isinstance(dense, PreTrainedModel) else repr(str(dense))


def _load_dense(
    dense_class: type[PreTrainedModel], dense: PreTrainedModel | str | PathLike[str], config: PreTrainedConfig
) -> PreTrainedModel:
    stock = config.to_dense()
    if not isinstance(dense, PreTrainedModel):
        return dense_class.from_pretrained(dense, config=stock)
    if type(dense) is dense_class:
        return dense
    model = dense_class(stock).to(dense.dtype)
    base: dict[str, Tensor] = getattr(dense, dense.base_model_prefix, dense).state_dict()
    getattr(model, model.base_model_prefix, model).load_state_dict(base, strict=False)
    return model.to(dense.device).train(dense.training)
