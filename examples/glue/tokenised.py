"""From texts and label names to what the model takes."""

from typing import Any

import pandas as pd
from datasets import Dataset
from transformers import PreTrainedTokenizerBase


def tokenise(
    table: pd.DataFrame,
    tokenizer: PreTrainedTokenizerBase,
    fields: dict[str, Any],
    max_length: int,
) -> Dataset:
    """Token ids of all rows, cut to `max_length` but not padded, and `label` where there is one.

    `fields` is what `label_fields` returned: it gives the number of a label's name.
    """
    texts = [table[name].tolist() for name in ("text", "text_pair") if name in table]
    columns = dict(tokenizer(*texts, truncation=True, max_length=max_length))
    if "label" in table:
        numbers = fields.get("label2id")
        columns["label"] = [numbers[str(label)] if numbers else float(label) for label in table["label"]]
    return Dataset.from_dict(columns)
