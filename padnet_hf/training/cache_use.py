"""Whether a model keeps what it has computed of earlier tokens: not in training, but as it came where it leaves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, Trainer
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

_ABSENT = object()


class CacheUseMixin(Trainer):
    """Before a Trainer: the stock one writes its own option `use_cache` (off) into the model's configuration for good.

    So every language model that it saves would generate without a cache, many times slower. Here the option holds while
    the model is trained or evaluated; the configuration is saved, and left, as it came.
    """

    def __init__(self, model: nn.Module | None = None, *args: Any, **kwargs: Any) -> None:
        self._came_with = _cache_use(model)  # of a model_init's, call_model_init
        super().__init__(model, *args, **kwargs)
        _set_cache_use(getattr(self.model, "config", None), self._came_with)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """The stock Trainer's new model."""
        model = super().call_model_init(trial)
        self._came_with = _cache_use(model)
        return model

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        with using_cache(self.model, self.args.use_cache):
            return super()._inner_training_loop(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """The stock loop."""
        with using_cache(self.model, self.args.use_cache):
            return super().evaluation_loop(*args, **kwargs)

    def _save(self, *args: Any, **kwargs: Any) -> None:
        with using_cache(self.model, self._came_with):
            super()._save(*args, **kwargs)


@contextmanager
def using_cache(model: nn.Module, value: Any) -> Iterator[None]:
    """Whether the model keeps what it computes of earlier tokens, in this block."""
    config, before = getattr(model, "config", None), _cache_use(model)
    _set_cache_use(config, value)
    try:
        yield
    finally:
        _set_cache_use(config, before)


def _cache_use(model: nn.Module | None) -> Any:
    return getattr(getattr(model, "config", None), "use_cache", _ABSENT)


def _set_cache_use(config: PreTrainedConfig | None, value: Any) -> None:
    if config is None:
        return
    if value is not _ABSENT:
        config.use_cache = value
    elif hasattr(config, "use_cache"):
        del config.use_cache
