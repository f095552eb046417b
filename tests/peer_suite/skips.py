"""Every reason for which a test of transformers' own is not run, in one place.

A skip for any other reason fails the run: what a new version of transformers skips is to be read first.
"""

from typing import NamedTuple

from padnet_hf.models.known import KNOWN


class Skip(NamedTuple):
    """Tests that are skipped.

    reason: what is true of the model, or of the machine.
    wording: a part of the reason that transformers' test gives by itself; none if the skip is ours.
    classes: how the names begin of the PAD classes for which it is true.
    tests: how the names begin of the tests.
    """

    reason: str
    wording: str = ""
    classes: tuple[str, ...] = ("PAD",)
    tests: str = "test_"

    def fits(self, class_name: str, test: str) -> bool:
        return class_name.startswith(self.classes) and test.startswith(self.tests)


def _but(*left_out: str) -> tuple[str, ...]:
    return tuple(prefix for prefix in KNOWN.values() if prefix not in left_out)


_CONVOLUTIONS = ("PADMobileNetV2", "PADResNet")
_IMAGES = (*_CONVOLUTIONS, "PADViT")
_EXPERTS = _but(*_CONVOLUTIONS)
_GATHERS_BY_ITSELF = ("PADDebertaV2", *_CONVOLUTIONS)
_NO_PLAN = ("PADAlbert", "PADDebertaV2", "PADDistilBert", "PADModernBert", *_IMAGES)
_MIXTURES = ("PADMixtral", "PADOlmoe", "PADQwen3Moe")
_CAUSAL = ("PADLlama", "PADMistral", "PADQwen2", "PADQwen3", *_MIXTURES)
_WRITERS = tuple(f"{prefix}ForCausalLM" for prefix in _CAUSAL)
_READ = "transformers' model reads its relative embeddings without calling their module, which no hook sees"

OURS = (
    Skip("the input is an image: no table of embeddings to get or set", "", _IMAGES, "test_model_get_set_embeddings"),
    Skip(
        "its first output is a tuple of feature maps, where the test differentiates a tensor",
        classes=("PADResNetBackbone",),
        tests="test_retain_grad_hidden_states_attentions",
    ),
    Skip(
        "it loads a file without any of the model's tensors, which is refused as damaged",
        tests="test_model_weights_reload_no_missing_tied_weights",
    ),
    Skip(_READ, classes=("PADDebertaV2",), tests="test_cpu_offload"),
    Skip(_READ, classes=("PADDebertaV2",), tests="test_disk_offload_safetensors"),
    Skip(
        "transformers' tests of generation are not in its source distribution; tests/models/families has our own",
        classes=_WRITERS,
        tests="test_generation_tester_mixin_inheritance",
    ),
    Skip(
        "it makes a layer dense, of which the configuration of a partitioned model counts the experts",
        classes=("PADQwen3Moe",),
        tests="test_reverse_loading_mapping",
    ),
    Skip("its checkpoint is a pickle, and PAD models load safetensors alone", tests="test_disk_offload_bin"),
)
"""Tests whose assumptions are not true of a model."""

_ALONE = "not made of several models"
_OWN_LOG = "routers tell a log of the package's own; test_output_router_logits_from_config sees what outputs have of it"
_OWN_FILE = "the test reads our file, where no stock experts are; tests/models/families/test_mixtures.py has our own"
_OWN_STATES = "transformers' model gathers its hidden states by itself"
_DYNAMIC_CONVOLUTIONS = "dynamic convolutions, not experts"
_NO_ATTENTION = "no attention"
_NO_TOKENS = "the input is an image"

THEIRS = (
    # of the machine
    Skip("flex attention has no backward pass on a CPU", "test requires accelerator", tests="test_flex_attention"),
    Skip("about kernels that accelerators alone have", "test requires accelerator", tests="test_sdpa_can_"),
    Skip("the machine has not several accelerators", "test requires multiple accelerators"),
    Skip("the machine is none of Apple's", "test requires MPS"),
    Skip("kernels for accelerators, versions 2 to 4; not installed", "test requires Flash Attention"),
    Skip("fetches kernels for accelerators from the Hub; not installed", "test requires the kernels library"),
    Skip("for accelerators; not installed", "test requires deepspeed"),
    Skip("compiled training on an accelerator", "test is slow", tests="test_torch_compile_for_training"),
    # of PAD models
    Skip("tensors are stored as the model has them: nothing is renamed or converted", "No conversion found for"),
    Skip(_OWN_FILE, "has no sparse experts", _MIXTURES),
    Skip(_OWN_LOG, "has no sparse experts", _EXPERTS),
    Skip("no plan: transformers' one is for stock experts", "Model does not have a TP plan", _MIXTURES),
    Skip("no plan, as transformers' model has none that it could go into", "Model does not have a TP plan", _NO_PLAN),
    Skip("no module insists on float32", "_keep_in_fp32_modules"),
    # of all families
    Skip(_ALONE, "not a composite model"),
    Skip(_ALONE, "not composite"),
    Skip(_ALONE, "No subconfigs"),
    Skip(_ALONE, "does not support SDPA", _EXPERTS, "test_sdpa_can_dispatch_composite_models"),
    Skip("not the head that writes", "No decoder-only language modeling head", _CAUSAL),
    Skip("no encoder", "No sequence-to-sequence language modeling head", _CAUSAL),
    Skip("an encoder", "No decoder-only language modeling head"),
    Skip("an encoder", "No sequence-to-sequence language modeling head"),
    Skip("of rotary positions; looked for in the bare model", "no `base_model_class` defined"),
    # of some
    Skip("positions are learned or relative, or there are none", "does not have RoPE", _but("PADModernBert")),
    Skip("positions are learned or relative, or there are none", "not support RoPE scaling", _but("PADModernBert")),
    Skip("positions are not rotary, or not those of images", "has no axial RoPE layer"),
    Skip("the rotation is of whole heads", "does not have partial rope", ("PADModernBert", *_CAUSAL)),
    Skip("which tokens see each other is said by one field, or by none", "not support sliding window mask", _CAUSAL),
    Skip("transformers' forward of all families' heads names no attentions", "support output_attentions", _CAUSAL),
    Skip("every token sees every other", "not support sliding window mask", _but("PADModernBert", *_CONVOLUTIONS)),
    Skip("which tokens see each other is said in another field", "not support sliding window mask", ("PADModernBert",)),
    Skip("transformers resizes those of DistilBERT alone", "does not have position embeddings", _but("PADDistilBert")),
    Skip("transformers' model has no SDPA", "does not support SDPA", ("PADDebertaV2",)),
    Skip("transformers' model has no SDPA", "don't support sdpa", ("PADDebertaV2",)),
    Skip(_OWN_STATES, "No usage of the `capture_outputs` decorator", _GATHERS_BY_ITSELF),
    Skip(_OWN_STATES, "Cannot capture hidden states", _GATHERS_BY_ITSELF),
    Skip(
        "transformers' model has no activation checkpointing",
        "No model with a differentiable loss",
        ("PADAlbert", *_CONVOLUTIONS),
    ),
    Skip("the input is an image, cut by a convolution", "No model with a differentiable loss", ("PADViT",)),
    Skip(_NO_ATTENTION, "support attentions", _CONVOLUTIONS),
    Skip(_NO_ATTENTION, "not output attentions", _CONVOLUTIONS),
    Skip(_NO_ATTENTION, "not support output_attentions", _CONVOLUTIONS),
    Skip(_NO_ATTENTION, "don't support sdpa", _CONVOLUTIONS),
    Skip(_NO_TOKENS, "doesn't use `inputs_embeds`", _IMAGES),
    Skip(
        "transformers' head takes no embeddings", "doesn't use `inputs_embeds`", ("PADModernBertForQuestionAnswering",)
    ),
    Skip(_NO_TOKENS, "test_resize_embeddings is set to `False`", _IMAGES),
    Skip(_DYNAMIC_CONVOLUTIONS, "does not support grouped_mm", _CONVOLUTIONS),
    Skip(_DYNAMIC_CONVOLUTIONS, "has no sparse experts", _CONVOLUTIONS),
    Skip(_DYNAMIC_CONVOLUTIONS, "has no `output_router_logits`", _CONVOLUTIONS),
)
"""Reasons that transformers' tests give by themselves, and what is true here; the first that fits counts."""


def reason_to_skip(class_name: str, test: str) -> str | None:
    """Our own reason not to run this test on this class, if there is one."""
    return next((skip.reason for skip in OURS if skip.fits(class_name, test)), None)


def explain(wording: str, class_name: str, test: str) -> str | None:
    """What this file says of a skip of this test for a reason worded so; None if nothing."""
    if (own := reason_to_skip(class_name, test)) is not None:
        return own
    return next((skip.reason for skip in THEIRS if skip.wording in wording and skip.fits(class_name, test)), None)
