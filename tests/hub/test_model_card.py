"""The model card: ours between our marks, and its owner's everywhere else."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from padnet_hf import PADNetError, PADResNetConfig, PADResNetForImageClassification
from padnet_hf.hub.model_card import write_card
from tests.hub.cases import make_model
from tests.hub.model_card import check_card

ACCURACY = EvalResult("text-classification", "glue", "GLUE", "accuracy", 0.9, dataset_split="validation")


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the card of a case, and return its text."""

    def write_one(name: str = "bert-unit", repository: str = "org/model", **options: object) -> str:
        model = make_model(name)
        model.config.architectures = [type(model).__name__]
        write_card(tmp_path, model.config, model.partition_report(), repository=repository, **options)
        text = (tmp_path / "README.md").read_text()
        assert check_card(text) == ([], [])
        return text

    return write_one


def test_the_same_card_is_written_again(write: Write) -> None:
    first = write(metadata=ModelCardData(model_name="model", eval_results=[ACCURACY]), training="- seed: 1")
    assert write(existing=first, training="- seed: 1") == first


def test_what_the_owner_wrote_outside_of_our_marks_stays_and_inside_it_is_rewritten(write: Write) -> None:
    first = write("bert-unit")
    edited = first.replace("# model\n", "# My model\n\nMine.\n").replace("## Size", "## How large\n\nSmall.")
    edited = edited.replace("| **this model** |", "| **this great model** |") + "\nThe end.\n"
    second = write("bert-element", existing=edited)
    for mine in ("# My model\n\nMine.\n", "## How large\n\nSmall.\n", "\nThe end.\n"):
        assert mine in second
    assert "great" not in second
    assert "granularity='element'" in second
    assert "granularity='unit'" not in second
    assert second.count("<!-- /padnet_hf ") == first.count("<!-- /padnet_hf ")


def test_a_part_that_was_taken_out_stays_out(write: Write) -> None:
    first = write()
    without = re.sub(r"## Citation.*<!-- /padnet_hf citation -->", "", first, flags=re.DOTALL)
    second = write("bert-element", existing=without)
    assert "bibtex" not in second
    assert "<!-- padnet_hf size:" in second


@pytest.mark.parametrize("front", ["", "---\nlicense: mit\n---\n"])
def test_a_card_without_our_marks_gets_our_parts_at_its_end(write: Write, front: str) -> None:
    text = write(existing=f"{front}# Theirs\n\nText of theirs.\n")
    assert text.index("Text of theirs.") < text.index("<!-- padnet_hf model:")
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert {*re.findall(r"<!-- padnet_hf (\w+):", text)} >= {"model", "use", "size", "evaluation", "partition"}
    assert ModelCard(text).data.license == ("mit" if front else None)


def test_the_owners_metadata_win_and_tags_join(write: Write) -> None:
    front = "license: mit\npipeline_tag: fill-mask\nbase_model: org/other\nlanguage: de\ntags: [mine, padnet]"
    added = ModelCardData(language="en", tags=["generated"])
    data = ModelCard(write(existing=f"---\n{front}\n---\n# Theirs\n", metadata=added)).data
    assert (data.license, data.pipeline_tag, data.base_model) == ("mit", "fill-mask", "org/other")
    assert data.language == "de"
    assert data.tags == ["mine", "padnet", "mixture-of-experts", "generated"]


def test_results_of_the_same_measure_are_replaced_and_others_kept(write: Write) -> None:
    def results(*results: EvalResult) -> ModelCardData:
        return ModelCardData(model_name="model", eval_results=[*results])

    other = EvalResult("text-classification", "glue", "GLUE", "f1", 0.5, dataset_split="validation")
    better = EvalResult("text-classification", "glue", "GLUE", "accuracy", 0.95, dataset_split="validation")
    first = write(metadata=results(ACCURACY, other))
    assert "| text-classification | GLUE, validation | accuracy | 0.9 |" in first
    second = write(existing=first, metadata=results(better))
    found = {one.metric_type: one.metric_value for one in ModelCard(second).data.eval_results}
    assert found == {"accuracy": 0.95, "f1": 0.5}
    assert "| accuracy | 0.95 |" in second
    assert "| accuracy | 0.9 |" not in second
    assert "| f1 | 0.5 |" in second


def test_without_results_there_is_no_model_index(write: Write) -> None:
    text = write(metadata=ModelCardData(model_name="model"))
    assert "model-index" not in text
    assert "No results are recorded." in text


def test_a_base_model_that_cannot_be_asked_leaves_the_licence_out(write: Write, tmp_path: Path) -> None:
    # in this process HF_HUB_OFFLINE is set; without a base model nothing is asked
    model = make_model("bert-full")
    model.config.architectures, model.config.base_model = [type(model).__name__], "org/dense-bert"
    card = write_card(tmp_path, model.config, model.partition_report(), repository="org/model")
    assert (card.data.license, card.data.base_model) == (None, "org/dense-bert")
    assert "base_model" not in write()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bert-unit", "its 2 feed-forward layers, 25.1 % are dynamic, with a copy for each of 4 experts"),
        ("bert-full", "A fully dynamic network: each of its 2 feed-forward layers has a copy"),
        ("resnet-unit", "its 6 convolutions, "),
        ("resnet-full", "A fully dynamic network: each of its 6 convolutions has a copy .* for each of 3 kernels"),
    ],
)
def test_the_first_words_say_what_the_network_is(write: Write, name: str, kind: str) -> None:
    assert re.search(kind, write(name))


@pytest.mark.parametrize("front", ["a: [", "model-index: 3", "- a list"])
def test_metadata_that_cannot_be_read_are_an_error(write: Write, front: str) -> None:
    with pytest.raises(PADNetError, match=r"metadata of README.md cannot be read, mend or remove them"):
        write(existing=f"---\n{front}\n---\n# Theirs\n")


def test_every_auto_class_has_a_card(tmp_path: Path) -> None:
    for family in ("bert", "resnet"):
        config = make_model(f"{family}-full").config
        report = make_model(f"{family}-full").partition_report()
        for auto_class, name in config.auto_classes.items():
            if auto_class in ("AutoConfig", "AutoBackbone"):
                continue
            config.architectures = [name]
            text = str(write_card(tmp_path, config, report, repository="org/model"))
            assert check_card(text) == ([], [])
            assert f"{auto_class}.from_pretrained" in text
            assert hasattr(transformers, auto_class)


def test_a_network_without_dynamic_layers_has_a_card_too(tmp_path: Path) -> None:
    model = PADResNetForImageClassification(PADResNetConfig(hidden_sizes=[16], depths=[1], dynamic_layers=[]))
    model.save_pretrained(tmp_path)
    card = write_card(tmp_path, model.config, model.partition_report(), repository="org/static")
    assert "without dynamic layers" in card.text
    assert card.data.pipeline_tag == "image-classification"
