"""Rows of all ways on a trained network, and what becomes of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from padnet_hf import PADNetError
from padnet_hf.method.scoring import Batch
from studies import late_partition, late_report
from studies.late import comparison, measures, networks
from studies.late.networks import EXAMPLES, Case
from studies.late.rows import Row, append, read
from studies.late.ways import ways
from tests.examples.language_modeling.conftest import tokenizer as tokenizer  # the fixture
from tests.models.samples import set_apart, small_dense, small_pad

TEXTS, LANGUAGE = "AutoModelForSequenceClassification", "AutoModelForCausalLM"


def saved(model: PreTrainedModel, folder: Path, tokenizer: str) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def classifiers(tmp_path: Path, tiny_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mixture and a dense network of a case, trained already."""
    size = {"vocab_size": AutoConfig.from_pretrained(tiny_bert).vocab_size, "num_labels": 2}
    found = {
        "fully dynamic": saved(set_apart(small_pad("bert", TEXTS, **size)), tmp_path / "moe", tiny_bert),
        "dense": saved(small_dense("bert", TEXTS, **size), tmp_path / "dense", tiny_bert),
    }
    monkeypatch.setattr(comparison, "trained", lambda case, work, data_dir: found)


@pytest.mark.usefixtures("classifiers")
def test_every_way_has_a_row_and_rows_that_are_there_are_not_made_again(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, results = Case("mrpc", 1), tmp_path / "results"
    own, count = measures.measured, []

    def counted(model: PreTrainedModel, batches: list[Batch], task: str) -> dict[str, float]:
        count.append(task)
        if len(count) == 5:
            raise KeyboardInterrupt
        return own(model, batches, task)

    monkeypatch.setattr(comparison, "measured", counted)
    with pytest.raises(KeyboardInterrupt):
        comparison.compare(case, tmp_path, data_dir, (0.5, 0.0), results)
    file = results / "mrpc-1.jsonl"
    file.write_bytes(file.read_bytes() + b'{"torn')
    comparison.compare(case, tmp_path, data_dir, (0.5, 0.0), results)
    rows = list(read(results).values())
    assert {(row.way, row.ratio) for row in rows} == {
        ("fully dynamic", 1.0), ("dense", 0.0), *((way.name, way.ratio) for way in ways((0.5, 0.0)))
    }  # fmt: skip
    assert len(count) == len(rows) + 1
    assert len(file.read_text().splitlines()) == len(rows)
    size = {row.way: row.bytes for row in rows}
    assert size["dense"] < size["unit"] < size["fully dynamic"]
    assert size["nothing dynamic, mean"] < size["mean and low rank"]
    assert len({row.loss for row in rows}) > 10
    comparison.compare(case, tmp_path, data_dir, (0.5, 0.0), results)
    assert len(count) == len(rows) + 1


def test_rows_of_like_length_come_together_and_none_is_changed() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    batch = {
        "input_ids": torch.arange(5, 17).view(3, 4) * mask,
        "attention_mask": mask,
        "labels": torch.tensor([0, 1, 2]),
    }
    (one,) = measures.by_length([batch])
    assert one["labels"].tolist() == [1, 2, 0]
    assert torch.equal(one["input_ids"], batch["input_ids"][[1, 2, 0]])
    assert torch.equal(one["attention_mask"], mask[[1, 2, 0]])
    assert measures.by_length([{name: value[1:2] for name, value in batch.items()}])[0]["input_ids"].shape == (1, 2)


def test_metric_and_loss_are_over_rows_and_not_over_batches() -> None:
    model = small_pad("bert", TEXTS, num_labels=2)
    ids, labels = torch.arange(5, 25).view(5, 4), torch.tensor([0, 1, 1, 0, 1])
    whole = {"input_ids": ids, "labels": labels}
    parts = [{name: tensor[rows] for name, tensor in whole.items()} for rows in (slice(2), slice(2, None))]
    for task in ("sst2", "cola"):
        assert measures.measured(model, parts, task) == pytest.approx(measures.measured(model, [whole], task), rel=1e-5)


def test_language_models_are_measured_on_whole_blocks_and_recover(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "RECOVERY_STEPS", 3)
    monkeypatch.setattr(measures, "_HELD_OUT", 2)
    monkeypatch.setattr(measures, "_BLOCK", 16)
    (tmp_path / "text").mkdir()
    for split in ("train", "validation"):
        text = "".join(json.dumps({"text": f"def f{n}(x):\n    return x + {n}\n" * 40}) + "\n" for n in range(9))
        (tmp_path / "text" / f"{split}.jsonl").write_text(text)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    size = {"vocab_size": len(tokenizer)}
    model = set_apart(small_pad("llama", LANGUAGE, **size))
    found = {
        "fully dynamic": saved(model, tmp_path / "moe", str(tmp_path / "tokenizer")),
        "dense": saved(small_dense("llama", LANGUAGE, **size), tmp_path / "dense", str(tmp_path / "tokenizer")),
    }
    monkeypatch.setattr(comparison, "trained", lambda *_: found)
    comparison.compare(Case("lm_upcycled", 1), tmp_path, None, (0.5,), tmp_path / "results")
    rows = {(row.way, row.steps): row for row in read(tmp_path / "results").values()}
    for way in ways((0.5,)):
        assert ((way.name, 3) in rows) == way.can_recover
        assert not way.can_recover or rows[way.name, 3].loss != rows[way.name, 0].loss
    assert rows["dense", 0].metric == pytest.approx(torch.tensor(rows["dense", 0].loss).exp().item())


def made_up(seed: int, task: str) -> list[Row]:
    steps = (0, 100) if task.startswith("lm") else (0,)
    whole = [Row(task, seed, "fully dynamic", 1.0, of, 80.0 + seed, 0.5, 1000, "a") for of in steps]
    rows = [Row(task, seed, "dense", 0.0, of, 78.0 + seed, 0.6, 200, "a") for of in steps]
    return [*whole, *rows] + [
        Row(task, seed, way.name, way.ratio, of, 79.0 + seed, 0.5 + 0.1 * (1 - way.ratio) * (1 + ("drop" in way.name)),
            int(200 + 800 * way.ratio), "a")
        for way in ways((0.5, 0.3)) for of in steps if of == 0 or way.can_recover
    ]  # fmt: skip


def test_tables_have_differences_seed_by_seed_and_gaps_against_the_best_dropping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        for task in ("mrpc", "sst2", "lm_scratch"):
            for row in made_up(seed, task):
                append(tmp_path, row)
    late_partition.main(["report", "--output", str(tmp_path)])
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    whole = next(cells for cells in lines if cells[:1] == ["fully dynamic"] and len(cells) == 8)
    assert whole == ["fully dynamic", "", "1.00", "81.5", "81.5", "+0.00", "+0.0 to +0.0", "+0.0 %"]
    unit = next(cells for cells in lines if cells[:2] == ["unit", "0.5"] and len(cells) == 8)
    assert unit == ["unit", "0.5", "0.60", "80.5", "80.5", "-1.00", "-1.0 to -1.0", "+10.0 %"]
    language = next(cells for cells in lines if cells[:2] == ["unit", "0.3"] and "0.50" in cells[3:])
    assert language[2:] == ["0.44", "80.5", "80.5", "0.50"]
    assert (tmp_path / "late_partition.png").stat().st_size > 10_000


def test_rows_of_another_version_of_the_code_do_not_mix(tmp_path: Path) -> None:
    old = made_up(1, "sst2")
    new = [replace(row, code="b", metric=row.metric - 1) for row in old]
    old = old[:-1]
    found = late_report.sections([*old, *new], None)
    assert "of code b" in found["late_origin"]
    assert "| 80.0 |" in found["late_texts"]
    assert "| 81.0 |" in late_report.sections([*old, *new], "a")["late_texts"]
    with pytest.raises(PADNetError, match="no rows of the code c, but of a, b"):
        late_report.sections([*old, *new], "c")
    with pytest.raises(PADNetError, match="need --data_dir"):
        late_partition.main(["run", "--work", str(tmp_path), "--tasks", "sst2"])


def test_the_documents_commands_are_understood() -> None:
    document = (networks.ROOT / "docs" / "late_partition.md").read_text(encoding="utf-8")
    commands = [line.split("#")[0].split() for line in document.splitlines() if line.startswith("python -m ")]
    parsed = [late_partition.parse(words[3:]) for words in commands]
    assert [options.command for options in parsed] == ["run", "run", "run", "report"]
    assert {task for options in parsed[:3] for task in options.tasks} == {*networks.TEXTS, *networks.LANGUAGE}


@pytest.mark.slow
def test_networks_are_trained_once_by_the_examples_scripts(
    data_dir: Path, tiny_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "GLUE", (*networks.GLUE, "--model_name_or_path", tiny_bert, "--max_steps", "2"))
    monkeypatch.setattr(networks, "DENSE_STEPS", 2)
    monkeypatch.setattr(networks, "MORE_STEPS", 1)
    monkeypatch.syspath_prepend(str(EXAMPLES / "language_modeling"))
    import stdlib_demo

    small = {"vocab_size": 300, "block_size": 32, "max_files": 4, "max_eval_samples": 2}
    shape = "hidden_size=16,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2"
    options = stdlib_demo.DemoArguments(**small, config_overrides=shape)
    monkeypatch.setattr(stdlib_demo, "DemoArguments", lambda: options)
    for task in ("mrpc", "lm_upcycled", "lm_scratch"):
        folders = networks.trained(Case(task, 1), tmp_path, data_dir)
        kinds = {name: AutoConfig.from_pretrained(folder).model_type for name, folder in folders.items()}
        assert kinds["fully dynamic"] == {"bert": "pad_bert", "llama": "pad_llama"}[kinds["dense"]]
        times = {folder: (folder / "eval_results.json").stat().st_mtime_ns for folder in folders.values()}
        networks.trained(Case(task, 1), tmp_path, data_dir)
        assert times == {folder: (folder / "eval_results.json").stat().st_mtime_ns for folder in folders.values()}
