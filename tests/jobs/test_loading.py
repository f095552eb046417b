from pathlib import Path

import pytest
from transformers import BertConfig, BertTokenizer, ConvNextImageProcessorPil

from padnet_hf import PADNetError
from padnet_hf.jobs.loading import load_or_explain, load_processing


@pytest.mark.parametrize("kind", [OSError, ValueError, RuntimeError])
def test_what_a_loader_raises_names_source_and_remedy_in_one_line(kind: type[Exception]) -> None:
    def broken(source: str, revision: str) -> None:
        raise kind(f"no {source}\nat {revision}")

    with pytest.raises(PADNetError, match="cannot load 'm': no m at main; give a folder"):
        load_or_explain(broken, "m", "give a folder", revision="main")


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


def test_what_transformers_makes_up_is_no_tokenizer(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match="it has no tokenizer; save the one for AutoTokenizer beside the model"):
        load_processing("AutoTokenizer", str(tmp_path))
    with pytest.raises(PADNetError, match=r"cannot load .*; save the one for AutoImageProcessor"):
        load_processing("AutoImageProcessor", str(tmp_path))
