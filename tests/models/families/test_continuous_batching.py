"""transformers' continuous batching (`generate_batch`, used by `transformers serve`) writes what `generate` writes."""

import pytest
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from padnet_hf import PartitionConfig, partition
from tests.models.samples import HEADS, set_apart, siblings_later, small_pad

CAUSAL = "AutoModelForCausalLM"
FAMILIES = [dense for dense, auto_class in HEADS if auto_class == CAUSAL]


@pytest.mark.parametrize("granularity", [None, "element", "unit"])
@pytest.mark.parametrize("dense", siblings_later(FAMILIES))
def test_texts_of_different_lengths_are_continued_as_one_by_one(dense: str, granularity: str | None) -> None:
    model = small_pad(dense, CAUSAL)
    if granularity:
        config = PartitionConfig(dynamic_ratio=0.5, criterion="random", granularity=granularity)
        partition(model, None, config, progress=False)
    set_apart(model)
    model.generation_config.eos_token_id = None  # every text goes on to its end
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(4, 60, (length,), generator=generator).tolist() for length in (5, 2, 9)]
    config = GenerationConfig(max_new_tokens=6, do_sample=False, eos_token_id=-1, pad_token_id=0)
    room = ContinuousBatchingConfig(num_blocks=8, max_batch_tokens=16)  # by default as much as the machine has
    found = model.generate_batch(prompts, config, room)
    expected = [model.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)[0] for ids in prompts]
    assert [found[name].error for name in sorted(found)] == [None] * 3
    by_prompt = {tuple(result.prompt_ids): result.generated_tokens for result in found.values()}
    for ids, whole in zip(prompts, expected, strict=True):
        assert by_prompt[tuple(ids)] == whole[len(ids) :].tolist()
        assert len(by_prompt[tuple(ids)]) == 6
