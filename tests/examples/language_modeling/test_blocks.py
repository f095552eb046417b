import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from blocks import Block, Blocks, around, as_item, bytes_of_tokens, cut
from tests.examples.language_modeling.conftest import CHAT, TEMPLATE, new_tokenizer
from texts import Piece

BYTES = 257
"""Words of a tokenizer that knows single bytes alone, and the end of a text, which is 0."""


def single_bytes() -> PreTrainedTokenizerBase:
    return new_tokenizer(BYTES)


def decoded(tokenizer: PreTrainedTokenizerBase, blocks: list[Block]) -> list[str]:
    return [tokenizer.decode(block.ids) for block in blocks]


def test_documents_stand_one_after_the_other_with_an_end_between_and_a_rest_is_left_out() -> None:
    tokenizer = single_bytes()
    blocks = list(cut([Piece("abc"), Piece("defgh"), Piece("ij")], tokenizer, 4))
    assert decoded(tokenizer, blocks) == ["abc<end>", "defg", "h<end>ij"]  # and the last end, alone, is left out
    # the first of a block is not scored, and an end stands for no byte
    assert [block.num_bytes for block in blocks] == [2, 3, 2]


def test_a_document_in_pieces_is_one_document() -> None:
    tokenizer = single_bytes()
    pieces = [Piece("ab", ends=False), Piece("cd", ends=False), Piece("e"), Piece("fg")]
    assert decoded(tokenizer, list(cut(pieces, tokenizer, 3))) == ["abc", "de<end>", "fg<end>"]


def test_bytes_are_those_of_utf8_whole_in_the_first_token_of_a_character() -> None:
    assert bytes_of_tokens("aé€😀", [(0, 1), (1, 2), (1, 2), (2, 3), (2, 3), (2, 3), (3, 4)]) == [1, 2, 0, 3, 0, 0, 4]


def test_bytes_that_no_token_stands_for_are_the_next_tokens_and_at_the_end_the_lasts() -> None:
    assert bytes_of_tokens("  ab  cd\n", [(2, 4), (6, 8)]) == [4, 5]
    assert bytes_of_tokens("", []) == []


@pytest.mark.parametrize("text", ["def f(x):\n\n    return 'ä€😀'\n", "   ", "x", "\n\n\t\r\n"])
def test_the_bytes_of_all_tokens_are_those_of_the_text(text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert sum(bytes_of_tokens(text, offsets)) == len(text.encode("utf-8"))


def test_a_chat_has_its_special_tokens_already() -> None:
    tokenizer = new_tokenizer(BYTES, chat_template=TEMPLATE)
    text = tokenizer.apply_chat_template(CHAT[0], tokenize=False)
    (block,) = cut([Piece(text, is_chat=True)], tokenizer, len(text.encode("utf-8")))
    assert tokenizer.decode(block.ids) == text
    assert block.num_bytes == len(text.encode("utf-8")) - 1


def test_what_a_tokenizer_puts_around_a_text_stands_around_a_document() -> None:
    tokenizer = single_bytes()
    assert around(tokenizer) == ([], [0])
    tokenizer.eos_token = None
    assert around(tokenizer) == ([], [])
    for template, expected in (("<end> $A", ([0], [])), ("<end> $A <end>", ([0], [0]))):
        tokenizer = single_bytes()
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=[("<end>", 0)])
        assert around(tokenizer) == expected


def test_blocks_count_what_is_scored_and_a_part_of_them_is_always_the_same() -> None:
    blocks = Blocks.of([Block([number] * 4, number) for number in range(10)], 4)
    assert (len(blocks), blocks.scored_tokens, blocks.scored_bytes) == (10, 30, 45)
    part = blocks.limited(3)
    assert np.array_equal(part.ids, blocks.limited(3).ids)
    assert part.ids[:, 0].tolist() == sorted(set(part.ids[:, 0].tolist())) == part.num_bytes.tolist()
    assert blocks.limited(10) is blocks
    assert len(Blocks.of([], 4)) == 0


def test_labels_are_the_tokens_themselves_and_no_view_of_them() -> None:
    item = as_item([1, 2, 3])
    item["labels"][0] = -100
    assert item["input_ids"].tolist() == [1, 2, 3]
