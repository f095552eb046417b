"""Every command on every family: from a dense checkpoint to a partitioned one, and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, AutoTokenizer, BertTokenizer, GenerationConfig, PreTrainedTokenizerFast
from typer.testing import CliRunner

from padnet_hf import PADLlamaConfig, PADNetError
from padnet_hf.cli.app import app
from padnet_hf.cli.collators import next_token_collator
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.known import KNOWN
from padnet_hf.models.registry import family_of, image_processor_class
from tests.models.samples import classifier_of, inputs_of, small_dense, small_pad, with_equal_copies

TEXTS = [dense for dense in KNOWN if family_of(dense).processing_class == "AutoTokenizer"]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film", "dull", "no")


def padnet(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def dense_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A stock classifier of the family asked for, with what prepares its inputs."""
    dense, folder = request.param, tmp_path / "dense"
    with_equal_copies(small_dense(dense, classifier_of(dense))).save_pretrained(folder)
    if dense in TEXTS:
        BertTokenizer({word: number for number, word in enumerate(WORDS)}).save_pretrained(folder)
    else:
        size = {"height": 16, "width": 16}
        processor = image_processor_class(dense)
        (processor(size=size) if dense == "vit" else processor()).save_pretrained(folder)
    return folder


def data_for(dense: str, folder: Path) -> Path:
    """A few labelled rows, as a file of texts or a folder of images."""
    if dense in TEXTS:
        path = folder / "rows.csv"
        path.write_text("text,label\n" + "a fine film,0\na dull film,1\nno,2\n" * 3)
        return path
    for number in range(3):
        (folder / "images" / f"LABEL_{number}").mkdir(parents=True)
        pixels = np.full((16, 16, 3), 80 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"LABEL_{number}" / "one.png")
    return folder / "images"


@pytest.mark.parametrize(("dense_folder", "dense"), [(dense, dense) for dense in KNOWN], indirect=["dense_folder"])
def test_upcycle_partition_inspect_card_and_back(dense_folder: Path, dense: str, tmp_path: Path) -> None:
    options = ["--num-experts", 4] if family_of(dense).copies == "experts" else ["--num-kernels", 2]
    assert f"PAD{small_dense(dense, classifier_of(dense)).__class__.__name__}" in padnet(
        "upcycle", dense_folder, tmp_path / "moe", *options
    )
    data = data_for(dense, tmp_path)
    padnet("partition", tmp_path / "moe", tmp_path / "pad", "--data", data, "--granularity", "unit")
    found = json.loads(padnet("inspect", tmp_path / "pad", "--json"))
    assert found["auto_class"] == classifier_of(dense)
    assert found["current"]["parameters"] < found["fully_dynamic"]["parameters"]
    assert found["current"]["multiply_adds"] > 0
    padnet("card", tmp_path / "pad")
    assert "multiply-adds per" in (tmp_path / "pad" / "README.md").read_text()
    padnet("partition", tmp_path / "moe", tmp_path / "static", "--dynamic-ratio", 0)
    padnet("to-dense", tmp_path / "static", tmp_path / "again")
    stock = getattr(transformers, classifier_of(dense))
    one, other = (stock.from_pretrained(folder).eval() for folder in (dense_folder, tmp_path / "again"))
    assert type(one) is type(other)
    np.testing.assert_allclose(
        one(**inputs_of(one)).logits.detach(), other(**inputs_of(other)).logits.detach(), atol=1e-5
    )


def of_words() -> PreTrainedTokenizerFast:
    """A tokenizer as language models have them: without token types, and here without padding."""
    split = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    split.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=split)


def test_how_a_language_model_talks_is_kept_on_the_way(tmp_path: Path) -> None:
    stock = small_dense("llama", "AutoModelForCausalLM")
    stock.generation_config = GenerationConfig(max_new_tokens=7, do_sample=True, top_k=5, eos_token_id=[3, 4])
    stock.save_pretrained(tmp_path / "dense")
    tokenizer = of_words()
    tokenizer.pad_token = "[PAD]"
    tokenizer.chat_template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "dense")
    padnet("upcycle", tmp_path / "dense", tmp_path / "moe", "--num-experts", 4)
    data = data_for("llama", tmp_path)
    padnet("partition", tmp_path / "moe", tmp_path / "pad", "--data", data, "--granularity", "unit")
    assert PADLlamaConfig.from_pretrained(tmp_path / "pad").partition["num_samples"] == 9
    padnet("partition", tmp_path / "moe", tmp_path / "static", "--dynamic-ratio", 0)
    padnet("to-dense", tmp_path / "static", tmp_path / "again")
    for folder in ("moe", "pad", "static", "again"):
        kept = GenerationConfig.from_pretrained(tmp_path / folder)
        assert (kept.max_new_tokens, kept.do_sample, kept.top_k, kept.eos_token_id) == (7, True, 5, [3, 4])
        chat = [{"role": "user", "content": "a fine film"}]
        assert AutoTokenizer.from_pretrained(tmp_path / folder).apply_chat_template(chat, tokenize=False) == (
            "user: a fine film"
        )
        assert AutoModelForCausalLM.from_pretrained(tmp_path / folder).generation_config.top_k == 5


def test_texts_of_a_classifier_are_padded_with_what_its_model_overlooks(tmp_path: Path) -> None:
    tokenizer, data = of_words(), data_for("llama", tmp_path)
    tokenizer.eos_token = "[SEP]"
    for name, padding in (("with", 0), ("without", None)):
        small_dense("llama", classifier_of("llama"), pad_token_id=padding).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        padnet("upcycle", tmp_path / name, tmp_path / f"{name}-moe", "--num-experts", 4)
    padnet("partition", tmp_path / "with-moe", tmp_path / "pad", "--data", data)
    with pytest.raises(PADNetError, match=r"config\.json of .*without-moe' has no pad_token_id.* 3 \('\[SEP\]'\)"):
        padnet("partition", tmp_path / "without-moe", tmp_path / "none", "--data", data)
    assert not (tmp_path / "none").exists()


def test_a_trained_mixture_is_partitioned_and_written_as_a_stock_model_in_two_commands(tmp_path: Path) -> None:
    stock = small_dense("mixtral", "AutoModelForCausalLM", num_key_value_heads=1, max_position_embeddings=64)
    stock.save_pretrained(tmp_path / "mixtral")
    tokenizer = of_words()
    tokenizer.pad_token = "[PAD]"
    tokenizer.save_pretrained(tmp_path / "mixtral")
    data = data_for("mixtral", tmp_path)
    padnet("partition", tmp_path / "mixtral", tmp_path / "pad", "--data", data, "--granularity", "unit")
    found = json.loads(padnet("inspect", tmp_path / "pad", "--relatedness", "--json"))
    assert found["architecture"] == "PADMixtralForCausalLM"
    assert (found["record"]["criterion"], found["record"]["static_values"]) == ("fisher", "fisher")
    assert found["current"]["parameters"] < found["fully_dynamic"]["parameters"] == stock.num_parameters()
    assert len(found["relatedness"]) == 2
    written = padnet("export", tmp_path / "pad", tmp_path / "stock", "--format", "transformers")
    assert "GraniteMoeSharedForCausalLM" in written
    padnet("to-dense", tmp_path / "pad", tmp_path / "whole")
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path / "whole")) is type(stock)
    with pytest.raises(PADNetError, match=r"num_experts is 8, but the model has 4 experts"):
        padnet("upcycle", tmp_path / "mixtral", tmp_path / "none", "--num-experts", 8)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ((), ("layer", "mean")),
        (("--scope", "global"), ("global", "mean")),
        (("--static-values", "fresh"), ("layer", "fresh")),
    ],
)
def test_layers_of_a_language_model_get_the_same_share_unless_told_otherwise(
    options: tuple[str, ...], chosen: tuple[str, str], tmp_path: Path
) -> None:
    model = small_pad("llama", "AutoModelForCausalLM")
    model.save_pretrained(tmp_path / "moe")
    of_words().save_pretrained(tmp_path / "moe")
    how = ("--criterion", "magnitude", "--granularity", "unit")
    padnet("partition", tmp_path / "moe", tmp_path / "pad", *how, *options)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "pad")
    record = loaded.config.partition
    assert (record["scope"], record["static_values"]) == chosen
    found, before = pad_weights(loaded), pad_weights(model)
    names = [name for name in found if name.endswith("down_proj")]
    assert chosen[0] == "global" or len({found[name].num_dynamic for name in names}) == 1
    for name in names:
        copies = before[name].dynamic
        expected = (copies[0] if chosen[1] == "fresh" else copies.mean(0)).flatten()
        assert all((expected - value).abs().min() < 1e-6 for value in found[name].static.flatten())


def test_labels_of_language_models_are_their_own_tokens_without_padding() -> None:
    tokenizer = of_words()
    tokenizer.pad_token = "[SEP]"
    batch = next_token_collator(tokenizer, ["text"], 8)([{"text": "a fine film"}, {"text": "no"}])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 3, 3]]
    assert batch["labels"].tolist() == [[5, 6, 7], [9, -100, -100]]
    assert batch.keys() == {"input_ids", "attention_mask", "labels"}


def test_the_list_of_families_is_for_people_and_for_scripts() -> None:
    rows = json.loads(padnet("families", "--json"))
    assert [row["family"] for row in rows] == list(KNOWN)
    assert {row["copies"] for row in rows} == {"experts", "kernels"}
    printed = padnet("families")
    assert all(f"{dense}: {family_of(dense).copies} at" in printed for dense in KNOWN)
    assert "SequenceClassification" in printed
