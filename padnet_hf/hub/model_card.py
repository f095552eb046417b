"""The model card: what the model is, how large, how to load it and how it was made, as README.md of the checkpoint.

Numbers come from the report. A card that is there already keeps its text: only the parts between our marks are
rewritten, or added if there are none; its metadata win over ours, but for tags and results, which are joined.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import ModelCard, ModelCardData
from transformers import PreTrainedConfig

from padnet_hf.errors import PADNetError
from padnet_hf.hub.access import repository_name
from padnet_hf.hub.whole_files import write_text
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.report import PartitionReport

CARD, PICTURE = "README.md", "partition.png"
_TEMPLATE = Path(__file__).with_name("model_card_template.md")
_PART = re.compile(r"<!-- padnet_hf (\w+):.*?<!-- /padnet_hf \1 -->", re.DOTALL)


class _Kind(NamedTuple):
    """What a family's card calls things."""

    layers: str
    tag: str


_KINDS = {
    "experts": _Kind("feed-forward layers", "mixture-of-experts"),
    "kernels": _Kind("convolutions", "dynamic-convolution"),
}
"""By what the copies are called."""

_FEATURES = {"AutoTokenizer": "feature-extraction", "AutoImageProcessor": "image-feature-extraction"}
"""The task of a model without a head, by what prepares its inputs."""

_PIPELINES = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForImageClassification": "image-classification",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForMultipleChoice": "multiple-choice",
    "AutoModelForQuestionAnswering": "question-answering",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModelForTokenClassification": "token-classification",
}


def auto_class_of(config: PreTrainedConfig) -> str:
    """The Auto class that loads the model that this configuration was saved with. Raises PADNetError if none does."""
    auto_classes = {name: auto_class for auto_class, name in config.auto_classes.items() if auto_class != "AutoConfig"}
    name = (config.architectures or ["nothing"])[0]
    if name not in auto_classes:
        raise PADNetError(f"architectures in config.json names {name!r}, but must be one of {', '.join(auto_classes)}.")
    return auto_classes[name]


def write_card(
    folder: Path,
    config: PreTrainedConfig,
    report: PartitionReport,
    *,
    repository: str,
    existing: str | None = None,
    metadata: ModelCardData | None = None,
    training: str | None = None,
) -> ModelCard:
    """Write README.md of a checkpoint in `folder`.

    Args:
        config, report: of the model; `report.record` says how it was partitioned.
        repository: what the reader passes to from_pretrained.
        existing: text of the card so far.
        metadata: to add; results replace those of the same measure.
        training: Markdown about how it was trained.

    Raises PADNetError if the existing card has metadata that cannot be read.
    """
    card = _parse(existing) if existing else None
    data = _metadata(config, repository.split("/")[-1], metadata, card and card.data)
    values = _values(folder, config, report, repository)
    new = ModelCard.from_template(
        data, template_path=str(_TEMPLATE), results=data.eval_results, training=training, **values
    )
    if card is not None:
        new.text = _rewritten(card.text, new.text)
    write_text(folder / CARD, str(new))
    return new


def _parse(text: str) -> ModelCard:
    if not text.lstrip().startswith("---"):
        text = f"---\n\n---\n{text}"  # else huggingface_hub warns of what is no mistake
    try:
        return ModelCard(text)
    except Exception as error:  # yaml's, and whatever huggingface_hub makes of a wrong model-index
        raise PADNetError(f"the metadata of {CARD} cannot be read, mend or remove them: {error}") from error


def _metadata(
    config: PreTrainedConfig, name: str, added: ModelCardData | None, existing: ModelCardData | None
) -> ModelCardData:
    kind = _KINDS[config.copies]
    ours = {
        "library_name": "transformers",
        "pipeline_tag": _PIPELINES.get(auto_class_of(config), _FEATURES[config.processing_class]),
        "base_model": config.base_model,
        "license": _licence(config.base_model),
    }
    new, old = (
        {key: value for key, value in vars(data).items() if value} if data else {} for data in (added, existing)
    )
    tags = [*old.pop("tags", ()), "padnet", kind.tag, *new.pop("tags", ())]
    results = new.pop("eval_results", [])
    kept = [
        result for result in old.pop("eval_results", ()) if not any(result.is_equal_except_value(r) for r in results)
    ]
    index = {"eval_results": [*kept, *results], "model_name": old.pop("model_name", name)} if kept or results else {}
    new.pop("model_name", None)
    return ModelCardData(**(ours | new | old | index), tags=list(dict.fromkeys(tags)))


def _licence(base_model: str | None) -> str | None:
    """The licence that the base model's card states, None if it has none or cannot be asked."""
    if repository_name(base_model) is None:
        return None
    try:
        return ModelCard.load(base_model).data.license
    except (OSError, ValueError):
        return None


def _values(folder: Path, config: PreTrainedConfig, report: PartitionReport, repository: str) -> dict[str, object]:
    """The template's variables."""
    kind = _KINDS[config.copies]
    record = report.record or {}
    settings = {field.name: record[field.name] for field in fields(PartitionConfig) if field.name in record}
    return {
        "title": repository.split("/")[-1],
        "repository": repository,
        "auto_class": auto_class_of(config),
        "partitioned": bool(record),
        "picture": (folder / PICTURE).exists(),
        "is_trained_mixture": config.seam.has_copies,
        "num_layers": len(report.layers),
        "layers": kind.layers,
        "kind": config.copies,
        "copies": getattr(config, f"num_{config.copies}"),
        "ratio": report.dynamic_ratio,
        "per": report.work_per,
        "sizes": [
            ("dense: one copy of every parameter", report.dense),
            *([("fully dynamic: a copy for each of them", report.fully_dynamic)] if record else []),
            ("**this model**", report.current),
        ],
        "record": record,
        "settings": settings,
    }


def _rewritten(text: str, new: str) -> str:
    """`text` with our parts as they are in `new`; a part that its owner took out stays out."""
    parts = {match[1]: match[0] for match in _PART.finditer(new)}
    if _PART.search(text):
        return _PART.sub(lambda match: parts.get(match[1], match[0]), text)
    start = new.index("\n<!-- padnet_hf ")  # without the title
    return f"{text.rstrip()}\n{new[start:]}"
