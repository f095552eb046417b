"""What from_pretrained offers works with PAD models on the Hub: revisions, tokens, dtypes, devices, pipelines."""

import json

import pytest

from tests.hub.published import Published

LOAD = """
import json
import padnet_hf, torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification as ForImages
from transformers import AutoModelForSequenceClassification as ForText, AutoTokenizer, pipeline
from tests.hub.cases import logits_of, make_batch

load, told = ForText.from_pretrained, {}
for revision in ("main", "dev/small", "v1"):
    told[revision] = load("org/revised", revision=revision).num_parameters()

for token in (None, "stranger-token", "reader-token"):
    try:
        told[f"private {token}"] = load("org/private", token=token).num_parameters()
    except OSError as error:
        told[f"private {token}"] = str(error)

for name, auto_class in (("bert-unit", ForText), ("resnet-element", ForImages)):
    full = auto_class.from_pretrained(f"org/{name}")
    batch = make_batch(name.split("-")[0])
    half = auto_class.from_pretrained(f"org/{name}", dtype=torch.bfloat16)
    half_batch = {key: value.bfloat16() if value.is_floating_point() else value for key, value in batch.items()}
    told[f"dtypes {name}"] = sorted({str(tensor.dtype) for tensor in half.state_dict().values()})
    mapped = auto_class.from_pretrained(f"org/{name}", device_map="auto")
    told[f"mapped {name}"] = logits_of(mapped, batch).equal(logits_of(full, batch))
    told[f"half {name}"] = logits_of(half, half_batch).equal(logits_of(full.bfloat16(), half_batch))

def answer(task, repo, model, inputs, data):
    best = pipeline(task, model=repo)(data)[0]
    score = model(**inputs).logits.softmax(-1).max().item()
    return [best["label"], abs(best["score"] - score) < 1e-5]

tokenizer = AutoTokenizer.from_pretrained("org/bert-element")
processor = AutoImageProcessor.from_pretrained("org/resnet-unit")
image = Image.new("RGB", (60, 50), (200, 30, 90))
told["processing"] = [type(tokenizer).__name__, type(processor).__name__, tokenizer("a fine film").input_ids]
model = load("org/bert-element")
inputs = tokenizer("a fine film", return_tensors="pt")
told["text"] = answer("text-classification", "org/bert-element", model, inputs, "a fine film")
model = ForImages.from_pretrained("org/resnet-unit")
inputs = processor(image, return_tensors="pt")
told["image"] = answer("image-classification", "org/resnet-unit", model, inputs, image)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(published: Published, tmp_path_factory: pytest.TempPathFactory) -> dict:
    repositories = published.hub.repositories
    repositories.create("org/private", private=True, files=published.files("bert-element"))
    revised = repositories.create("org/revised", files=published.files("bert-full"))
    revised.tags["v1"] = revised.branches["dev/small"] = revised.branches["main"]
    for name, revision in (("bert-unit", "dev/small"), ("bert-element", "main")):
        before = repositories.files("org/revised", revision)
        repositories.commit("org/revised", published.files(name), before.keys() - published.files(name), revision)
    done = published.hub.run(LOAD, home=tmp_path_factory.mktemp("options"))
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1])


def test_a_branch_and_a_tag_give_their_own_model(published: Published, told: dict) -> None:
    expected = {"main": "bert-element", "dev/small": "bert-unit", "v1": "bert-full"}
    for revision, name in expected.items():
        assert told[revision] == published.num_parameters[name]


def test_a_private_model_loads_with_a_token_of_its_owner_only(published: Published, told: dict) -> None:
    assert told["private reader-token"] == published.num_parameters["bert-element"]
    for token in ("None", "stranger-token"):
        assert "org/private is not a local folder and is not a valid model identifier" in told[f"private {token}"]
        assert "hf auth login" in told[f"private {token}"]


@pytest.mark.parametrize("name", ["bert-unit", "resnet-element"])
def test_a_dtype_changes_the_floats_alone(told: dict, name: str) -> None:
    exact = ["torch.int64", "torch.uint8"] if name == "resnet-element" else []  # batch counts, masks
    assert told[f"dtypes {name}"] == ["torch.bfloat16", *exact]
    assert told[f"half {name}"]


@pytest.mark.parametrize("name", ["bert-unit", "resnet-element"])
def test_a_device_map_gives_the_same_logits(told: dict, name: str) -> None:
    assert told[f"mapped {name}"]


def test_tokenizer_and_image_processor_are_found(told: dict) -> None:
    assert told["processing"] == ["BertTokenizer", "ConvNextImageProcessorPil", [2, 5, 6, 7, 3]]


@pytest.mark.parametrize("task", ["text", "image"])
def test_a_pipeline_loads_model_and_processing_by_the_name_alone(told: dict, task: str) -> None:
    label, has_models_score = told[task]
    assert label.startswith("LABEL_")
    assert has_models_score
