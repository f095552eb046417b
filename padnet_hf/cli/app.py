"""The commands of `padnet`: what they take, what they print. What they do stands in hub/ and beside this module.

Each imports that when it runs, so that help comes without waiting for torch.
"""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from padnet_hf.errors import PADNetError
from padnet_hf.version import __version__

if TYPE_CHECKING:
    from padnet_hf.hub.inspection import Inspection

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Partially dynamic networks (PAD-Net): look at checkpoints, convert them, share them.",
)
console = Console(highlight=False, soft_wrap=True, emoji=False)

Source = Annotated[str, typer.Argument(help="Folder, or repository on the Hub.", show_default=False)]
Target = Annotated[Path, typer.Argument(help="Folder to write to.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the checkpoint in the folder.")]
Shards = Annotated[str, typer.Option("--max-shard-size", help="Of a file of weights: 5GB, for instance.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON instead, for scripts.")]
Token = Annotated[str | None, typer.Option(help="Instead of the one you are logged in with.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.")]


def main() -> None:
    """The command: every mistake of the user ends in one line on stderr and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("padnet_hf.cli").setLevel(logging.INFO)  # which columns are read, beside what stdout has
    try:
        app()
    except PADNetError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(1)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(f"padnet_hf {__version__}")
        raise typer.Exit


@app.command()
def inspect(
    source: Source,
    plot: Annotated[Path | None, typer.Option(help="Draw it too: a .png, .pdf or .svg file.")] = None,
    values: Annotated[bool, typer.Option("--values", help="Read all weights too, and look for NaN.")] = False,
    relatedness: Annotated[
        bool, typer.Option("--relatedness", help="Read them and say how far apart the copies of every layer are.")
    ] = False,
    as_json: AsJSON = False,
    revision: Revision = None,
    token: Token = None,
) -> None:
    """Say what a checkpoint is and takes; reads its configuration and headers, no weights.

    With `--relatedness`, `--plot` draws that.

    Example: `padnet inspect org/pad-bert-moe-50 --plot partition.png`
    """
    from padnet_hf.hub.inspection import inspect_checkpoint
    from padnet_hf.hub.values import non_finite, tensors_of
    from padnet_hf.method.relatedness import advice, check_same_values, of_tensors

    found, related = inspect_checkpoint(source, revision=revision, token=token), None
    if relatedness:
        check_same_values((found.report.record or {}).get("masks", "shared"))
        layers = [layer.name for layer in found.report.layers]
        related = of_tensors(tensors_of(source, revision=revision, token=token), layers)
    if plot is not None:
        _draw(found, related, plot)
    not_finite = non_finite(source, revision=revision, token=token) if values else None
    if as_json:
        more = {"not_finite": not_finite, "relatedness": related}
        _print_json(found.to_dict() | {name: value for name, value in more.items() if value is not None})
        return
    console.print(f"{_headline(found)}\n\n{found.report}", markup=False)
    if related is not None:
        rows = [f"{name}  {value:.3g}" for name, value in related.items()]
        rows.append(advice(related, found.num_copies) if related else "nothing is dynamic, so there are no copies")
        console.print(
            "\n".join(["", "distance of the copies from their mean, as a share of their energy", *rows]), markup=False
        )
    if not_finite is not None:
        listed = [f"{name}: {count:,} values are NaN or infinite" for name, count in not_finite.items()]
        console.print("\n".join(["", *(listed or ["all values are finite"])]), markup=False)


def _draw(found: "Inspection", related: dict[str, float] | None, path: Path) -> None:
    """The sizes, or how far copies are apart."""
    from padnet_hf.method.plot import draw_relatedness

    if related:
        draw_relatedness(related, found.num_copies, path)
    else:
        found.report.plot(path)


def _headline(found: "Inspection") -> str:
    record, files = found.report.record, "1 file" if found.num_files == 1 else f"{found.num_files} files"
    how = "fully dynamic"
    if record is not None:
        how = f"{found.report.dynamic_ratio:.1%} dynamic, by {record['granularity']}"
        if record.get("masks") == "per_copy":
            how += ", other ones in every copy" + (", the rest left out" if record["granularity"] == "unit" else "")
        if "criterion" in record:
            how += f" (criterion {record['criterion']}, rounds {record['num_rounds']}, samples {record['num_samples']})"
        how += f", masks {record['mask_hash'][:12]}" if "mask_hash" in record else ""
    origin = f", from {found.config.base_model}" if found.config.base_model else ""
    dtype = str(found.dtype).removeprefix("torch.")
    return (
        f"{found.source}: {found.config.architectures[0]}{origin}\n{how}\n"
        f"{found.report.current.parameters:,} parameters, {dtype}, {found.file_bytes:,} bytes in {files}"
    )


@app.command("upcycle")
def upcycle_command(
    source: Source,
    target: Target,
    num_experts: Annotated[int | None, typer.Option(help="Experts: copies of each feed-forward layer (8).")] = None,
    num_experts_per_tok: Annotated[int | None, typer.Option(help="Experts that each token passes (2).")] = None,
    moe_layers: Annotated[
        list[int] | None, typer.Option(help="Number of a layer that gets experts; once for each (all).")
    ] = None,
    num_kernels: Annotated[int | None, typer.Option(help="Kernels of each dynamic convolution (4).")] = None,
    num_labels: Annotated[int | None, typer.Option(min=1, help="Make it a classifier.")] = None,
    max_shard_size: Shards = "50GB",
    overwrite: Overwrite = False,
) -> None:
    """Turn a dense model, of a family that `padnet families` lists, into a fully dynamic one with the same outputs.

    Example: `padnet upcycle bert-base-uncased bert-moe --num-experts 8`
    """
    from padnet_hf.cli.converting import check_target, upcycle

    check_target(target, overwrite, max_shard_size)
    given = {
        "num_experts": num_experts,
        "num_experts_per_tok": num_experts_per_tok,
        "moe_layers": moe_layers,
        "num_kernels": num_kernels,
        "num_labels": num_labels,
    }
    fields = {name: value for name, value in given.items() if value is not None}
    model = upcycle(source, target, fields, max_shard_size)
    console.print(f"{target}: {type(model).__name__}, {model.num_parameters():,} parameters", markup=False)


@app.command()
def families(as_json: AsJSON = False) -> None:
    """List the families of models that can be made dynamic: where, with which heads, and what works with them.

    Example: `padnet families`
    """
    from padnet_hf.cli.families import as_text, described

    found = described()
    if as_json:
        _print_json(found)
    else:
        console.print(as_text(found), markup=False)


@app.command("partition")
def partition_command(
    source: Source,
    target: Target,
    data: Annotated[
        str | None,
        typer.Option(help="Calibration data: CSV, TSV, JSON, parquet or plain text, a folder, or a Hub data set."),
    ] = None,
    dynamic_ratio: Annotated[
        float | None,
        typer.Option(help="Share of the parameters that stays dynamic, 0 to 1 (0.5).", show_default=False),
    ] = None,
    target_size: Annotated[
        str | None, typer.Option(help="Size of the model's file instead: 120MB, for instance.", show_default=False)
    ] = None,
    granularity: Annotated[Literal["element", "unit"], typer.Option(help="unit is faster, too.")] = "element",
    masks: Annotated[
        Literal["shared", "per_copy"],
        typer.Option(
            help="The same elements or units are dynamic in all copies, or other ones in each (--static-values none)."
        ),
    ] = "shared",
    criterion: Annotated[
        str | None,
        typer.Option(
            help="snip, fisher, or without data: magnitude, random (snip; fisher where copies differ).",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of scoring and selecting.")] = 3,
    batches: Annotated[int, typer.Option(help="Batches scored in each round.")] = 8,
    batch_size: Annotated[int, typer.Option(help="Rows in each.")] = 32,
    scope: Annotated[
        Literal["global", "layer"] | None,
        typer.Option(help="Share over all layers, or in each (global; layer for language models).", show_default=False),
    ] = None,
    static_values: Annotated[
        Literal["mean", "fresh", "fisher", "usage", "none"] | None,
        typer.Option(
            help="What static values begin with: the mean of the copies, the first of them, or their mean weighted by "
            "squared gradients or by use (mean; fisher where copies differ). none: units that a copy does not keep are "
            "left out of it.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of rows.")] = 42,
    split: Annotated[str, typer.Option(help="Split of the data.")] = "train",
    input_: Annotated[
        list[str] | None, typer.Option("--input", help="Column of text or images; twice for pairs of texts.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column of labels: names that the model knows, or numbers.")] = "label",
    max_length: Annotated[int, typer.Option(min=4, help="Tokens of a text at most.")] = 128,
    max_shard_size: Shards = "50GB",
    overwrite: Overwrite = False,
    as_json: AsJSON = False,
) -> None:
    """Make all but a share of a fully dynamic network, or a trained mixture, static (iterative mode partition).

    Example: `padnet partition bert-moe pad-bert --data reviews.csv --dynamic-ratio 0.5 --granularity unit`
    """
    from padnet_hf.cli.calibration_data import calibration_batches
    from padnet_hf.cli.converting import check_target, config_to_partition, load_to_partition, partition_into
    from padnet_hf.method.config import PartitionConfig
    from padnet_hf.method.criteria import criterion_named

    check_target(target, overwrite, max_shard_size)
    config = PartitionConfig(
        dynamic_ratio=dynamic_ratio,
        target_size=target_size,
        granularity=granularity,
        masks=masks,
        criterion=criterion,
        num_rounds=rounds,
        num_batches=batches,
        static_values=static_values,
        seed=seed,
    )
    scores = criterion or "snip"
    if data is None and criterion_named(scores).needs_gradients and config.dynamic_ratio not in (0, 1):
        raise PADNetError(f"--criterion {scores} needs --data to score with; magnitude and random need none.")
    family, drawn = config_to_partition(source), None
    family.check_static_values(static_values)
    config = replace(config, scope=scope or PartitionConfig.for_model(family).scope)
    if data is not None:  # before the model: a mistake in the data shows at once
        columns = {"split": split, "inputs": input_, "label": label, "max_length": max_length}
        drawn = calibration_batches(data, source, family, config, batch_size=batch_size, **columns)
    report = partition_into(load_to_partition(source), source, target, drawn, config, max_shard_size)
    if as_json:
        _print_json(report.to_dict())
    else:
        console.print(str(report), markup=False)


@app.command()
def to_dense(source: Source, target: Target, max_shard_size: Shards = "50GB", overwrite: Overwrite = False) -> None:
    """Turn a network with nothing dynamic left, or not trained apart yet, into a stock transformers model.

    Example: `padnet to-dense pad-bert bert`
    """
    from padnet_hf.cli.converting import check_target, make_dense

    check_target(target, overwrite, max_shard_size)
    model = make_dense(source, target, max_shard_size)
    console.print(f"{target}: {type(model).__name__}, {model.num_parameters():,} parameters", markup=False)


@app.command("export")
def export_command(
    source: Source,
    target: Target,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx, torch for torch.export, transformers for a stock checkpoint, tei: text-embeddings-inference.",
        ),
    ] = "onnx",
    architecture: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Of a language model: granitemoeshared, qwen2_moe, qwen3_next, or a mixture's own, mixtral, olmoe or "
            "qwen3_moe, if neurons were left out (the family's default).",
            show_default=False,
        ),
    ] = None,
    opset: Annotated[int, typer.Option(help="Version of ONNX's operators, 18 to 23.")] = 21,
    quantize: Annotated[str | None, typer.Option(help="int8: weights of a quarter of the size.")] = None,
    max_shard_size: Annotated[
        str | None, typer.Option(help="Of a file of weights of a stock checkpoint (50GB).", show_default=False)
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            help="Of a model without a head, for tei: mean, cls or lasttoken (a sentence-transformers model's own).",
            show_default=False,
        ),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Write a network as what runs without this package, checked against the network itself.

    One graph (onnx, torch), a stock checkpoint of a language model (transformers), or the graph of a model of text with
    all that text-embeddings-inference reads (tei).

    Example: `padnet export pad-bert bert-onnx --format onnx --quantize int8`
    """
    from padnet_hf.cli.converting import export

    report = export(source, target, format_, opset, quantize, architecture, max_shard_size, pooling)
    if as_json:
        _print_json(report.to_dict())
    else:
        console.print(f"{target / getattr(report, 'file', '')}: {report}", markup=False)


@app.command()
def card(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint.", show_default=False)],
    repository: Annotated[str | None, typer.Option(help="Name that it will have on the Hub.")] = None,
) -> None:
    """Write the model card, the report and the picture of a checkpoint; what you wrote into the card stays.

    Example: `padnet card runs/glue --repository org/pad-bert-moe-50`
    """
    written = _describe(folder, repository or folder.resolve().name)
    console.print(f"{written}", markup=False)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a checkpoint.", show_default=False)],
    repository: Annotated[str, typer.Argument(help="org/name on the Hub; made if needed.", show_default=False)],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a new repository.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch to push to; made if needed.")] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead.")] = False,
    token: Token = None,
) -> None:
    """Upload a checkpoint with its card, report and picture to the Hub, in one commit.

    Example: `padnet push runs/glue org/pad-bert-moe-50`
    """
    from padnet_hf.hub.publishing import Repository

    _check_folder(folder)
    there = Repository(repository, private=private, token=token, revision=revision)
    _describe(folder, there.name, there.card())
    info = there.upload(folder, message=message, create_pr=create_pr)
    console.print(info.pr_url or info.commit_url, markup=False)


def _check_folder(folder: Path) -> "Inspection":
    from padnet_hf.hub.inspection import inspect_checkpoint

    if not folder.is_dir():
        raise PADNetError(f"{str(folder)!r} is not a folder: give one with config.json and model.safetensors.")
    return inspect_checkpoint(folder)


def _describe(folder: Path, repository: str, remote_card: str | None = None) -> Path:
    """Write card, whose path it returns, report and picture; a card in the folder comes before one on the Hub."""
    from padnet_hf.hub.model_card import CARD
    from padnet_hf.hub.publishing import describe

    found, path = _check_folder(folder), folder / CARD
    existing = path.read_text(encoding="utf-8") if path.exists() else remote_card
    describe(folder, found.config, found.report, repository=repository, existing=existing)
    return path


def _print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
