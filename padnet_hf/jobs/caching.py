"""The Trainer switches a model's cache off for good; reports of its sizes need it on."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.nn import Module


@contextmanager
def with_cache(model: Module) -> Iterator[None]:
    """In the block the model's configuration says that it uses a cache, if it knows of any.

    Without one transformers 5.23 looks at the values of positions, which the outline that multiply-adds are counted on
    does not have.
    """
    config = getattr(model, "config", None)
    if getattr(config, "use_cache", None) is not False:
        yield
        return
    config.use_cache = True
    try:
        yield
    finally:
        config.use_cache = False
