import math

import pytest
import torch

from clm_trainer import nats_of_blocks, text_measures


def test_bits_per_byte_by_hand() -> None:
    # 8 tokens, each as likely as one of 16, that stand for 20 bytes: 32 bits
    measures = text_measures(8 * math.log(16), 8, 20)
    assert measures == {"perplexity": pytest.approx(16), "bits_per_byte": pytest.approx(32 / 20)}


def test_a_perplexity_beyond_all_numbers_is_infinite_and_no_error() -> None:
    assert text_measures(1e6, 1, 1)["perplexity"] == math.inf


def test_the_nats_of_a_block_are_those_of_all_tokens_but_the_first() -> None:
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0], [9.0, -9.0]], [[0.0, math.log(7)], [0.0, 0.0], [0.0, 0.0]]])
    labels = torch.tensor([[1, 0, 1], [0, 1, 1]])
    expected = [math.log(2) + math.log(4), math.log(8 / 7) + math.log(2)]
    assert nats_of_blocks(logits, labels).tolist() == pytest.approx(expected)
    assert nats_of_blocks((logits, logits), labels).tolist() == pytest.approx(expected)
    assert nats_of_blocks(logits.bfloat16(), labels).dtype == torch.float32
