"""What every PAD model adds to a transformers model: its partition, its report, the way from dense and back."""

import copy
import logging
from abc import abstractmethod
from inspect import signature
from os import PathLike
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig
from transformers.initialization import copy_, zeros_

from padnet_hf.errors import PADCheckpointError, PADNetError
from padnet_hf.hub.access import repository_name
from padnet_hf.method.layer import MultiplyAdds, pad_layers, pad_weights
from padnet_hf.method.packing import first_positions
from padnet_hf.method.report import PartitionReport, report
from padnet_hf.method.weight import PADWeight
from padnet_hf.method.work import count_work
from padnet_hf.models.building import without_values
from padnet_hf.models.checkpoint import PADCheckpointMixin
from padnet_hf.models.loss_items import divides_by_items
from padnet_hf.models.pad_config import image_shape
from padnet_hf.models.parallel import PADParallelMixin
from padnet_hf.models.partition_record import PartitionRecordMixin
from padnet_hf.models.upcycle import load_copies, merged_state
from padnet_hf.transformers_seams import register_recording

logger = logging.getLogger(__name__)


class PADModelMixin(PADCheckpointMixin):
    """Base class of PAD models, before the stock class whose layers they make dynamic.

    The stock class builds itself; then, before its weights are initialised, the configuration's seam puts PAD layers in
    the place of its own. `dense_class` is that stock class.
    """

    dense_class: ClassVar[type[PreTrainedModel]]
    _is_built = False
    accepts_loss_kwargs = False
    """Whether the model divides by the number of items in accumulated batches, or leaves that to the Trainer."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        stock = (base for base in cls.__mro__ if issubclass(base, PreTrainedModel))
        cls.dense_class = next(base for base in stock if not issubclass(base, PADParallelMixin | PartitionRecordMixin))

    def post_init(self) -> None:
        """transformers' last step of building a model; dynamic layers are put in before it is taken first."""
        if not self._is_built:
            self._is_built = True
            self._make_dynamic()
        super().post_init()
        self.accepts_loss_kwargs = divides_by_items(self)

    def _make_dynamic(self) -> None:
        base = self.base_model
        if base is not self and isinstance(base, PADModelMixin):  # the stock head has asked AutoModel for one
            self._take_over(base)
            return
        self._put_in(base)
        if base is not self:
            base.__class__ = self.config.models["AutoModel"]  # the stock head has built one of the stock class
            register_recording(base)
        self._make_room()

    def _take_over(self, base: "PADModelMixin") -> None:
        """Share one configuration with a bare PAD model, which has made a copy of its own if it is partitioned."""
        own, self.config.partition = base.config, base.config.partition
        for module in base.modules():
            if getattr(module, "config", None) is own:
                module.config = self.config

    @abstractmethod
    def _put_in(self, base: PreTrainedModel) -> None:
        """Put dynamic layers into a bare model of the stock class."""

    # Partition

    @property
    def partition_defaults(self) -> dict[str, Any]:
        """Fields of PartitionConfig that have another default for this family."""
        return self.config.partition_defaults

    def partition_report(self) -> PartitionReport:
        """Dynamic ratio, parameters, bytes and multiply-adds of every PAD layer and of the whole model, as it is."""
        return report(self, self.config.partition, self.count_work())

    def count_work(self) -> dict[str, MultiplyAdds]:
        """Multiply-adds of every PAD layer by name, per token or image; a layer that is run twice counts twice."""
        base = self.base_model
        prefix = "" if base is self else f"{self.base_model_prefix}."
        if self.is_distributed_loading_by_transformers:  # its layers talk to other processes
            with torch.device("meta"):
                base = self.config.models["AutoModel"](self.config)
        return {f"{prefix}{name}": work for name, work in count_work(base, base._smallest_input()).items()}

    def _smallest_input(self) -> dict[str, Any]:
        """An input of the bare model, without memory: one image, or one text that is as short as it takes it.

        With a cache, whatever the configuration says: without one decoders look at the values of positions.
        """
        config = self.config
        if self.main_input_name == "pixel_values":
            return {"pixel_values": torch.empty(1, *image_shape(config), device="meta")}
        length = getattr(config, "chunk_size_feed_forward", 0) or 1
        width = self.get_input_embeddings().weight.shape[1]
        cache = {"use_cache": True} if "use_cache" in signature(self.forward).parameters else {}
        return {"inputs_embeds": torch.empty(1, length, width, device="meta", dtype=self.dtype)} | cache

    def cache_built_weights(self, cache: bool | None = True) -> None:
        """Whether element-partitioned weights stay built in evaluation without gradients (more memory, less time).

        None, as it is at first: those that are used again, up to 2 GiB in this process and a quarter of what is free on
        their device. True: all, whatever they take. False: none.
        """
        for weight in pad_weights(self).values():
            weight.keep_built(cache)

    # Initial values

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        # As transformers' own code: of other code it leaves out the rules for modules without parameters of their own.
        super()._initialize_weights(module)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PADWeight):
            self._init_weight(module)

    def _init_weight(self, weight: PADWeight) -> None:
        if weight.phi is not None:
            zeros_(weight.phi)
        if weight.mask_bits is not None and not getattr(weight.mask_bits, "_is_hf_initialized", False):
            total = weight.num_candidates(weight.granularity)
            *copies, _ = weight.mask_bits.shape
            copy_(weight.mask_bits, first_positions(weight.num_dynamic, total, copies=copies))
        for parameter in (weight.dynamic, weight.static):
            if parameter is None or getattr(parameter, "_is_hf_initialized", False):
                continue
            if not parameter.is_meta:
                self._forget_record()
            if len(weight.shape) == 1:
                zeros_(parameter)
            else:
                self._draw(weight, parameter)

    def _draw(self, weight: PADWeight, parameter: Tensor) -> None:
        """Every copy of a matrix or kernel at random, each its own, as the stock model draws its only one."""
        rows = parameter.unbind() if parameter is weight.dynamic else [parameter]
        for values in rows:
            copy_(values, self._drawn_like_stock(weight).flatten()[: values.numel()].view(values.shape))

    def _drawn_like_stock(self, weight: PADWeight) -> Tensor:
        """One copy, (*shape), freshly drawn by the stock model's rule for a layer of its kind."""
        kind, sizes = (nn.Conv2d, (1, 1, 1)) if len(weight.shape) == 4 else (nn.Linear, (1, 1))
        plain = kind(*sizes, bias=False, device="meta")
        plain.weight = nn.Parameter(weight.values.new_empty(weight.shape))
        super()._init_weights(plain)
        return plain.weight.detach()

    # From dense and back

    @classmethod
    def from_dense(cls, dense: PreTrainedModel | str | PathLike[str], **config: Any) -> Self:
        """Upcycle a dense checkpoint: every weight of a layer that becomes dynamic is copied, the rest taken over.

        Of a trained mixture the experts are the copies, and are taken over too: from a name or folder in its only
        copy, from a model, which stays as it is, in one of their own.

        The result is fully dynamic and gives the stock model's logits. A head that the checkpoint lacks, or has for
        another number of labels, is new, which is said in the log.

        Args:
            dense: a stock transformers model (loaded with whatever options its source needs), or the name or folder of
                a checkpoint. A model of another class than this one's counterpart (say, one without a head) is taken
                as far as it goes, the rest is initialised.
            config: fields of the configuration: the number of copies (num_experts, num_kernels), what is to be
                dynamic (moe_layers, dynamic_layers), num_labels, id2label, ...

        Raises:
            PADNetError: the checkpoint is of another family or quantised, or a value is out of range.
        """
        dense = getattr(dense, "_orig_mod", dense)  # what torch.compile has wrapped
        stock = dense.config if isinstance(dense, PreTrainedModel) else AutoConfig.from_pretrained(dense)
        family = cls.config_class.dense_class.model_type
        if stock.model_type != family:
            raise PADNetError(
                f"{cls.__name__}.from_dense takes a checkpoint of model type {family!r}, but {_describe(dense)} is of "
                f"type {stock.model_type!r}."
            )
        name = dense.name_or_path if isinstance(dense, PreTrainedModel) else dense
        target = cls.config_class.from_dense(stock, **{"base_model": repository_name(name)} | config)
        source = cls._load_dense(dense, target)
        if any(parameter.is_meta for parameter in source.parameters()):
            raise PADNetError(
                f"the values of {_describe(dense)} are not all in memory (its device_map leaves some on the disk), but "
                "every one is copied: load it without a device_map, or with device_map='cpu'."
            )
        with without_values(source.dtype):  # all but the routers' are loaded
            model = cls(target)
        state, device = source.state_dict(), source.device
        if source is not dense:  # nobody else has it: its values are held by their names alone from here on
            for parameter in source.parameters():
                parameter.data = parameter.new_empty(0)
        load_copies(model, state, target.seam, use_up=source is not dense)
        model.tie_weights()
        for layer in pad_layers(model).values():  # what routes is new; children first, as transformers does it
            layer.apply(lambda module: None if isinstance(module, PADWeight) else model._init_weights(module))
        _copy_generation_config(source, model)
        return model.to(device).train(source.training)

    @classmethod
    def _load_dense(cls, dense: PreTrainedModel | str | PathLike[str], config: PreTrainedConfig) -> PreTrainedModel:
        """The counterpart's class with the values of `dense`, as far as it has them."""
        stock = config.to_dense()
        if not isinstance(dense, PreTrainedModel):
            options = {"config": stock, "ignore_mismatched_sizes": True, "output_loading_info": True}
            model, info = cls.dense_class.from_pretrained(dense, **options)
            for name, found, asked in sorted(info["mismatched_keys"]):
                if name.startswith(f"{model.base_model_prefix}.") or model.base_model is model:
                    raise PADCheckpointError(
                        f"{name} in {str(dense)!r} is of shape {tuple(found)}, but its config.json asks for "
                        f"{tuple(asked)}: get both again."
                    )
                logger.warning("%s: the head is new, for %s instead of %s", dense, tuple(asked), tuple(found))
            return model
        if isinstance(dense, cls.dense_class) and dense.config.num_labels == stock.num_labels:
            return dense
        logger.warning("%s becomes a %s: the head is new, and untrained", _describe(dense), cls.__name__)
        model = cls.dense_class(stock).to(dense.dtype)
        base: dict[str, Tensor] = getattr(dense, dense.base_model_prefix, dense).state_dict()
        getattr(model, model.base_model_prefix, model).load_state_dict(base, strict=False)
        return model.to(dense.device).train(dense.training)

    def to_dense(self) -> PreTrainedModel:
        """A stock transformers model with the same logits; of a trained mixture one with all experts in full.

        Raises PADNetError for what was upcycled, unless the copies of every weight are equal: nothing dynamic is left
        (dynamic_ratio 0), or the copies have not been trained apart yet.
        """
        state = merged_state(self, self.config.seam)
        with without_values(self.dtype):
            dense = self.dense_class(self.config.to_dense())
        dense.load_state_dict(state)
        dense.tie_weights()
        _copy_generation_config(self, dense)
        return dense.to(self.device).train(self.training)


def _copy_generation_config(source: PreTrainedModel, target: PreTrainedModel) -> None:
    if getattr(source, "generation_config", None) is not None:
        target.generation_config = copy.deepcopy(source.generation_config)


def _describe(dense: PreTrainedModel | str | PathLike[str]) -> str:
    return f"this {type(dense).__name__}" if isinstance(dense, PreTrainedModel) else repr(str(dense))
