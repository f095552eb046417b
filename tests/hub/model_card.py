"""/api/validate-yaml: what the Hub wants of the YAML block at the start of a README.md, in its own words."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

FRONT_MATTER = re.compile(r"\A\s*---(?:\r\n|\r|\n)(.*?)(?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|\Z)", re.DOTALL)
ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
VALUES = yaml.safe_load(Path(__file__).with_name("model_card_values.yaml").read_text())
LICENSES, PIPELINE_TAGS = (set(VALUES[name].split()) for name in ("licenses", "pipeline_tags"))


def check_card(text: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a model card."""
    block = FRONT_MATTER.search(text)
    if block is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        duplicates = list(_duplicate_keys(yaml.compose(block[1], yaml.SafeLoader)))
        card = yaml.safe_load(block[1])
    except yaml.YAMLError as error:
        return [f"invalid YAML: {error}"], []
    if card is None:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(card, dict):
        return ['"metadata" must be of type object'], []
    errors = [f"duplicated mapping key: {key}" for key in duplicates]
    errors += [*_field_errors(card), *_index_errors(card.get("model-index"))]
    tag = card.get("pipeline_tag")
    unknown = isinstance(tag, str) and tag not in PIPELINE_TAGS
    return errors, [f'The pipeline tag "{tag}" is not in the official list'] if unknown else []


def card_of(text: str) -> dict:
    """The metadata of a card, empty where they are missing or broken."""
    block = FRONT_MATTER.search(text)
    if block is None or check_card(text)[0]:
        return {}
    return yaml.safe_load(block[1]) or {}


def _duplicate_keys(node: yaml.Node | None) -> Iterator[str]:
    # PyYAML lets the last of two equal keys win; the Hub's parser refuses them
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        yield from sorted({key for key in keys if keys.count(key) > 1})
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        for inner in child if isinstance(child, tuple) else (child,):
            yield from _duplicate_keys(inner)


def _field_errors(card: dict) -> Iterator[str]:
    for name in ("pipeline_tag", "library_name", "license_name", "license_link", "thumbnail"):
        if name in card:
            yield from _string_errors(name, card[name])
    if not isinstance(card.get("tags", []), list):
        yield '"tags" must be an array'
    for name in ("tags", "metrics", "language", "license", "base_model", "datasets"):
        for place, value in _items(name, card.get(name, [])):
            wrong = list(_string_errors(place, value))
            yield from wrong
            if wrong:
                continue
            if name == "license" and value not in LICENSES:
                yield f'"{place}" must be one of [{", ".join(sorted(LICENSES))}]'
            if name in ("base_model", "datasets") and not ID.fullmatch(value):
                yield f'"{place}" with value "{value}" is not valid. Use an id from the Hub.'


def _items(name: str, value: object) -> list[tuple[str, object]]:
    if isinstance(value, list):
        return [(f"{name}[{number}]", item) for number, item in enumerate(value)]
    return [(name, value)]


def _string_errors(place: str, value: object) -> Iterator[str]:
    if not isinstance(value, str):
        yield f'"{place}" must be a string'
    elif not value.strip():
        yield f'"{place}" is not allowed to be empty'


def _index_errors(index: object) -> Iterator[str]:
    if index is None:
        return
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for place, model in _items("model-index", index):
        yield from _required(place, model, ("name",))
        results = model.get("results") if isinstance(model, dict) else None
        if not isinstance(results, list):
            yield f'"{place}.results" ' + ("is required" if results is None else "must be an array")
            continue
        for where, result in _items(f"{place}.results", results):
            yield from _result_errors(where, result)


def _result_errors(place: str, result: object) -> Iterator[str]:
    if not isinstance(result, dict):
        yield f'"{place}" must be of type object'
        return
    yield from _required(f"{place}.task", result.get("task"), ("type",))
    yield from _required(f"{place}.dataset", result.get("dataset"), ("type", "name"))
    metrics = result.get("metrics")
    if not isinstance(metrics, list):
        yield f'"{place}.metrics" ' + ("is required" if metrics is None else "must be an array")
        return
    for where, metric in _items(f"{place}.metrics", metrics):
        yield from _required(where, metric, ("type",))
        value = metric.get("value") if isinstance(metric, dict) else None
        if value is None:
            yield f'"{where}.value" is required'
        elif isinstance(value, float) and not math.isfinite(value):  # no JSON number
            yield f'"{where}.value" must be a finite number'


def _required(place: str, value: object, names: tuple[str, ...]) -> Iterator[str]:
    if value is None:
        yield f'"{place}" is required'
    elif not isinstance(value, dict):
        yield f'"{place}" must be of type object'
    else:
        for name in names:
            if value.get(name) is None:
                yield f'"{place}.{name}" is required'
            else:
                yield from _string_errors(f"{place}.{name}", value[name])
