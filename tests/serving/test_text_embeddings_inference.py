"""The commands of docs/serving.md write folders that give, read as the server reads them, what the models give."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import from_numpy
from typer.testing import CliRunner

from padnet_hf.cli.app import app
from tests.export.tei_folder import read
from tests.serving.documented import block_of
from tests.serving.samples import TEXTS, made, probabilities, save


@pytest.mark.slow
def test_the_documents_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(made("bert", "AutoModel", num_hidden_layers=1), tmp_path / "pad-encoder")
    classifier = made("bert", "AutoModelForSequenceClassification", num_hidden_layers=1)
    save(classifier, tmp_path / "pad-bert")
    encoder = SentenceTransformer(modules=[Transformer("pad-encoder"), Pooling(16, "cls")], device="cpu")
    encoder.save_pretrained("sentence-encoder")
    for line in block_of("text-embeddings-inference", "bash").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "padnet"
        assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0, line
    np.testing.assert_allclose(read(Path("tei-encoder")).embeddings(TEXTS), encoder.encode(TEXTS), rtol=0, atol=1e-5)
    by_mean = SentenceTransformer("pad-encoder", device="cpu")
    np.testing.assert_allclose(read(Path("tei-mean")).embeddings(TEXTS), by_mean.encode(TEXTS), rtol=0, atol=1e-5)
    found = from_numpy(read(Path("tei-classifier")).outputs(TEXTS)[0]["logits"]).softmax(-1)
    for text, row in zip(TEXTS, found, strict=True):
        assert list(probabilities(classifier, text).values()) == pytest.approx(row.tolist(), abs=2e-6, rel=0)
