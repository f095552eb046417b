"""Every reason for which a test of transformers' own is not run, in one place.

A skip for any other reason fails the run: what a new version of transformers skips is to be read first.
"""

from typing import NamedTuple


class Skip(NamedTuple):
    """Tests that are skipped.

    reason: what is true of the model, or of the machine.
    classes, tests: how the names begin of the PAD classes and of the tests for which it is.
    """

    reason: str
    classes: str = "PAD"
    tests: str = "test_"

    def fits(self, class_name: str, test: str) -> bool:
        return class_name.startswith(self.classes) and test.startswith(self.tests)


OURS = (
    Skip("the input is an image: no table of embeddings to get or set", "PADResNet", "test_model_get_set_embeddings"),
    Skip(
        "its first output is a tuple of feature maps, where the test differentiates a tensor",
        "PADResNetBackbone",
        "test_retain_grad_hidden_states_attentions",
    ),
    Skip(
        "it loads a file without any of the model's tensors, which is refused as damaged",
        tests="test_model_weights_reload_no_missing_tied_weights",
    ),
)
"""Tests whose assumptions are not true of a model."""

_FOR_COMPOSITES = "test_sdpa_can_dispatch_composite_models"
_NO_EXPERTS = Skip("dynamic convolutions, not experts", "PADResNet")
_NO_ATTENTION = Skip("no attention", "PADResNet")
_NO_TOKENS = Skip("the input is an image", "PADResNet")

THEIRS = {
    # of the machine
    "test requires accelerator": Skip("the machine has none"),
    "test requires multiple accelerators": Skip("the machine has not several"),
    "test requires MPS": Skip("the machine is none of Apple's"),
    "test requires Flash Attention": Skip("kernels for accelerators, versions 2 to 4; not installed"),
    "test requires the kernels library": Skip("fetches kernels for accelerators from the Hub; not installed"),
    "test requires deepspeed": Skip("for several accelerators; not installed"),
    "test is slow": Skip("compiled training on an accelerator", tests="test_torch_compile_for_training"),
    # of PAD models
    "No conversion found for": Skip("tensors are stored as the model has them: nothing is renamed or converted"),
    "Model does not have a TP plan": Skip("transformers' ResNet has none either", "PADResNet"),
    "_keep_in_fp32_modules": Skip("no module insists on float32"),
    # of BERT and ResNet
    "not a composite model": Skip("not made of several models"),
    "not composite": Skip("not made of several models"),
    "No subconfigs": Skip("not made of several models"),
    "does not support SDPA": Skip("not made of several models", tests=_FOR_COMPOSITES),
    "No decoder-only language modeling head": Skip("an encoder"),
    "No sequence-to-sequence language modeling head": Skip("an encoder"),
    "RoPE": Skip("positions are learned (BERT), or there are none (ResNet)"),
    "no `base_model_class` defined": Skip("of rotary positions; looked for in the bare model"),
    "does not support sliding window mask": Skip("every token sees every other"),
    "does not have position embeddings": Skip("transformers' BERT cannot resize them, ResNet has none"),
    # of ResNet
    "support attentions": _NO_ATTENTION,
    "not output attentions": _NO_ATTENTION,
    "not support output_attentions": _NO_ATTENTION,
    "don't support sdpa": _NO_ATTENTION,
    "doesn't use `inputs_embeds`": _NO_TOKENS,
    "test_resize_embeddings is set to `False`": _NO_TOKENS,
    "No usage of the `capture_outputs` decorator": Skip("transformers' ResNet gathers its hidden states", "PADResNet"),
    "Cannot capture hidden states": Skip("transformers' ResNet gathers its hidden states", "PADResNet"),
    "No model with a differentiable loss": Skip("transformers' ResNet has no activation checkpointing", "PADResNet"),
    "does not support grouped_mm": _NO_EXPERTS,
    "has no sparse experts": _NO_EXPERTS,
    "has no `output_router_logits`": _NO_EXPERTS,
}
"""Reasons that transformers' tests give by themselves: a part of the wording, and what is true here."""


def reason_to_skip(class_name: str, test: str) -> str | None:
    """Our own reason not to run this test on this class, if there is one."""
    return next((skip.reason for skip in OURS if skip.fits(class_name, test)), None)


def explain(wording: str, class_name: str, test: str) -> str | None:
    """What this file says of a skip of this test for a reason worded so; None if nothing."""
    if (own := reason_to_skip(class_name, test)) is not None:
        return own
    return next((skip.reason for part, skip in THEIRS.items() if part in wording and skip.fits(class_name, test)), None)
