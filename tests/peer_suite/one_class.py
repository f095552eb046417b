"""What follows from a suite's having one class of models, and from which one it is."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

from transformers import ViTModel, set_seed


class OneClass:
    """Mixin of every suite."""

    def setUp(self) -> None:
        """Every test alone gives what it gives among others."""
        set_seed(0)

    def subTest(self, *args: Any, **kwargs: Any) -> AbstractContextManager[None]:
        """A context that does nothing: subtests, one for each parameter even, are about one class here anyway."""
        return nullcontext()


class WithMaskToken:
    """Mixin of ViT's bare model: the tests cover patches, and ask for a token in their place where it can be named."""

    def setUp(self) -> None:
        """The token is there by default: a checkpoint that lacks it would be refused as damaged."""
        super().setUp()
        self.enterContext(patch.object(ViTModel.__init__, "__defaults__", (True, True)))
