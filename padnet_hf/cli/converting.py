"""From one checkpoint to another: upcycled, partitioned, dense. Targets are folders, written whole or not at all."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils import CONFIG_NAME

from padnet_hf.errors import PADNetError
from padnet_hf.export.exporting import ExportReport, check_export, export_model
from padnet_hf.export.stock import StockReport, export_stock
from padnet_hf.export.text_embeddings import check_served, check_tokenizer, pooling_beside
from padnet_hf.hub.code_shim import SHIM_MODULE
from padnet_hf.hub.inspection import read_any_config, read_config
from padnet_hf.hub.model_card import CARD, PICTURE, auto_class_of
from padnet_hf.hub.publishing import REPORT, write_report
from padnet_hf.hub.whole_files import check_new, filled_whole
from padnet_hf.jobs.loading import load_or_explain, load_processing
from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.imp import partition
from padnet_hf.method.report import PartitionReport
from padnet_hf.method.scoring import Batch
from padnet_hf.models.pad_config import PADConfigMixin
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.models.registry import family_of, has_family, pad_class_for

logger = logging.getLogger(__name__)

STOCK = "transformers"
"""The format of a stock checkpoint, beside those of graphs."""

_REMEDY = "give a folder with config.json and model.safetensors, or the name of such a repository on the Hub"

_BESIDE_THE_WEIGHTS = (
    CARD, REPORT, PICTURE, f"{SHIM_MODULE}.py", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model",
    "chat_template.jinja", "preprocessor_config.json",
)  # fmt: skip
"""Files of a checkpoint that say nothing true about another one."""


MAX_SHARD_SIZE = "50GB"
"""transformers' default."""


def check_target(target: Path, overwrite: bool, max_shard_size: str = MAX_SHARD_SIZE) -> None:
    """Raise PADNetError if the folder to be written to holds something, unless it is a checkpoint to be replaced.

    And for a size of its files that is none.
    """
    check_shard_size(max_shard_size)
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / CONFIG_NAME).is_file():
        raise PADNetError(f"{str(target)!r} is there already, and no checkpoint to be replaced: give a new folder.")
    if not overwrite:
        raise PADNetError(f"{str(target)!r} is there already: give a new folder, or add --overwrite.")


def check_shard_size(size: str) -> None:
    """Raise PADNetError for a text that is no size of a file."""
    if not re.fullmatch(r"\d+(\.\d+)? ?[KMGT]B", size, re.IGNORECASE):
        raise PADNetError(
            f"--max-shard-size is {size!r}, but must be a number with KB, MB, GB or TB: 5GB, for instance."
        )


def upcycle(source: str, target: Path, fields: dict[str, Any], max_shard_size: str = MAX_SHARD_SIZE) -> PADModelMixin:
    """A fully dynamic checkpoint out of a dense one; `fields` are of the configuration.

    With `num_labels` among them it is a classifier, with a new head unless the dense one has as many labels, whose
    names it then keeps.
    """
    dense = load_or_explain(AutoConfig.from_pretrained, source, _REMEDY)
    pad_class = pad_class_for(dense, classifier="num_labels" in fields)
    if fields.get("num_labels") == dense.num_labels:
        del fields["num_labels"]  # or the labels would lose their names
    model = _from_dense(pad_class, source, dense, fields)
    _write(model, source, target, type(model.config).processing_class, max_shard_size)
    return model


def _from_dense(
    pad_class: type[PADModelMixin], source: str, dense: PreTrainedConfig, fields: dict[str, Any]
) -> PADModelMixin:
    if pad_class.dense_class.__name__ not in (dense.architectures or ()):
        logger.warning("%s becomes a %s: the rest of it is left out or new", dense.architectures, pad_class.__name__)
    return load_or_explain(lambda name: pad_class.from_dense(name, **fields), source, _REMEDY)


def config_to_partition(source: str) -> PreTrainedConfig:
    """The configuration of the PAD model in a folder or repository, or of the one that a trained mixture there becomes.

    Raises PADNetError for other models.
    """
    config = read_any_config(source)
    if not _is_stock_mixture(config):
        return read_config(source)
    pad_class = pad_class_for(config)
    return pad_class.config_class.from_dense(config, architectures=[pad_class.__name__])


def load_to_partition(source: str) -> PADModelMixin:
    """The model that `config_to_partition` is about."""
    config = read_any_config(source)
    return _from_dense(pad_class_for(config), source, config, {}) if _is_stock_mixture(config) else load(source)


def _is_stock_mixture(config: PreTrainedConfig) -> bool:
    is_stock = not isinstance(config, PADConfigMixin) and has_family(config.model_type)
    return is_stock and family_of(config.model_type).seam.has_copies


def load(source: str) -> PADModelMixin:
    """The PAD model in a folder or repository, of the class that it was saved as."""
    auto_class = getattr(transformers, auto_class_of(read_config(source)))
    return load_or_explain(auto_class.from_pretrained, source, _REMEDY)


def partition_into(
    model: PADModelMixin,
    source: str,
    target: Path,
    batches: Iterable[Batch] | None,
    config: PartitionConfig,
    max_shard_size: str = MAX_SHARD_SIZE,
) -> PartitionReport:
    """Partition a model loaded from `source`, and save it."""
    # Nobody needs this model after an error, and the source is still there.
    report = partition(model, batches, config, undo="none")
    _write(model, source, target, type(model.config).processing_class, max_shard_size, report)
    return report


def make_dense(source: str, target: Path, max_shard_size: str = MAX_SHARD_SIZE) -> PreTrainedModel:
    """A stock transformers checkpoint out of a PAD one whose copies are equal."""
    model = load(source)
    dense = model.to_dense()
    _write(dense, source, target, type(model.config).processing_class, max_shard_size)
    return dense


def export(
    source: str,
    target: Path,
    format: str,
    opset: int,
    quantize: str | None,
    architecture: str | None,
    max_shard_size: str | None = None,
    pooling: str | None = None,
) -> ExportReport | StockReport:
    """A PAD checkpoint as something that is served without this package, with what prepares its inputs.

    The graph of a model is in float32, whatever it was saved in; a stock checkpoint keeps its precision. The pooling is
    that of a sentence-transformers model, if `source` is one and none is given.
    """
    if pooling is not None and format != "tei":
        raise PADNetError(f"--pooling {pooling} is for --format tei: add that, or leave it out.")
    if format == STOCK:
        if quantize:
            raise PADNetError(f"--quantize {quantize} is for --format onnx: leave it out for {STOCK}.")
        size = max_shard_size or MAX_SHARD_SIZE
        check_shard_size(size)
        check_new(target)
        model = load(source)
        processing = _processing(type(model.config).processing_class, source)
        return export_stock(model, target, architecture, processing_class=processing, max_shard_size=size)
    for option, value in (("--target", architecture), ("--max-shard-size", max_shard_size)):
        if value:
            raise PADNetError(f"{option} {value} is for --format {STOCK}: add that, or leave it out.")
    check_export(target, format, opset, quantize)
    config = read_config(source)
    processing = _processing(config.processing_class, source)
    if format == "tei":  # before the weights
        its_own = load_or_explain(pooling_beside, source, _REMEDY)
        pooling = its_own if pooling is None else pooling
        check_served((config.architectures or ["nothing"])[0], pooling)
        check_tokenizer(processing)
    model = load(source).float().eval()
    options = {"opset": opset, "quantize": quantize, "processing_class": processing, "pooling": pooling}
    return export_model(model, target, format, **options)


def _write(
    model: PreTrainedModel,
    source: str,
    target: Path,
    processing_class: str,
    max_shard_size: str,
    report: PartitionReport | None = None,
) -> None:
    earlier = [path for name in _BESIDE_THE_WEIGHTS if (path := target / name).is_file()]
    with filled_whole(target) as folder:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        if (processing := _processing(processing_class, source)) is not None:
            processing.save_pretrained(folder)
        if report is not None:
            write_report(folder, report)
        written = {path.name for path in folder.iterdir()}
    for path in earlier:
        if path.name not in written:
            path.unlink()


def _processing(auto_class: str, source: str) -> Any:
    """The tokenizer or image processor beside a model, or None, with a warning."""
    try:
        return load_processing(auto_class, source)
    except PADNetError:
        logger.warning("%s has nothing for %s: the result has neither", source, auto_class)
        return None
