from pathlib import Path

import pytest
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertTokenizer,
    ByT5Tokenizer,
    ConvNextImageProcessorPil,
    RobertaTokenizer,
    T5Tokenizer,
)

from padnet_hf import PADNetError
from padnet_hf.jobs.loading import is_made_up, load_or_explain, load_processing, load_tokenizer
from padnet_hf.models.registry import families
from tests.jobs.library import in_a_library


@pytest.mark.parametrize("kind", [OSError, ValueError, RuntimeError])
def test_what_a_loader_raises_names_source_and_remedy_in_one_line(kind: type[Exception]) -> None:
    def broken(source: str, revision: str) -> None:
        raise kind(f"no {source}\nat {revision}")

    with pytest.raises(PADNetError, match="cannot load 'm': no m at main; give a folder"):
        load_or_explain(broken, "m", "give a folder", revision="main")


def test_a_library_that_a_loader_needs_is_named() -> None:
    broken = in_a_library("def run(source): raise ImportError('You need to install sacremoses')")
    with pytest.raises(PADNetError, match="cannot load 'm': You need to install sacremoses; give a folder"):
        load_or_explain(broken, "m", "give a folder")


def test_our_own_errors_stay_as_they_are() -> None:
    def refused(source: str) -> None:
        raise PADNetError("mine")

    with pytest.raises(PADNetError, match=r"^mine$"):
        load_or_explain(refused, "m", "give a folder")


def test_what_prepares_inputs_is_loaded(tmp_path: Path) -> None:
    BertTokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "fine": 4}).save_pretrained(tmp_path)
    assert "fine" in load_processing("AutoTokenizer", str(tmp_path)).get_vocab()
    ConvNextImageProcessorPil().save_pretrained(tmp_path)
    assert type(load_processing("AutoImageProcessor", str(tmp_path))) is ConvNextImageProcessorPil


TEXT_FAMILIES = sorted(
    {family.dense_class.model_type for family in families().values() if family.processing_class == "AutoTokenizer"}
)


@pytest.mark.parametrize("model_type", [*TEXT_FAMILIES, "t5", "gpt2", "mbart", "qwen3_moe"])
def test_what_transformers_makes_up_is_no_tokenizer(model_type: str, tmp_path: Path) -> None:
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=r"cannot load .*; save the one for AutoTokenizer beside the model"):
        load_processing("AutoTokenizer", str(tmp_path))


def test_what_was_made_up_is_none_either_when_it_was_saved(tmp_path: Path) -> None:
    for made_up in (BertTokenizer(), T5Tokenizer(), RobertaTokenizer()):
        made_up.add_tokens(["mine"])
        made_up.save_pretrained(tmp_path)
        with pytest.raises(PADNetError, match=r"it has no tokenizer, for the files of a vocabulary \(.*\) are"):
            load_processing("AutoTokenizer", str(tmp_path))


def test_a_tokenizer_without_its_vocabulary_file_is_none(tmp_path: Path, minilm_folder: str) -> None:
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(tmp_path)
    BertConfig().save_pretrained(tmp_path)
    assert not is_made_up(load_tokenizer(str(tmp_path), "remedy"))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(PADNetError, match=r"it has no tokenizer, .* \(vocab.txt, tokenizer.json\) .*; remedy"):
        load_tokenizer(str(tmp_path), "remedy")


def test_a_tokenizer_that_needs_no_files_is_one() -> None:
    assert not is_made_up(ByT5Tokenizer())


def test_an_image_processor_that_is_not_there_is_named(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=r"cannot load .*; save the one for AutoImageProcessor"):
        load_processing("AutoImageProcessor", str(tmp_path))
