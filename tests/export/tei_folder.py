"""A folder for text-embeddings-inference, read as that server reads it: with tokenizers and onnxruntime alone."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class Folder(NamedTuple):
    """What the server makes of one."""

    path: Path
    config: dict
    longest: int

    def outputs(self, texts: list[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Outputs by name, and the attention mask: a batch padded on the right with the configuration's token."""
        tokenizer = Tokenizer.from_file(str(self.path / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.longest)
        rows = tokenizer.encode_batch(texts)
        session = onnxruntime.InferenceSession(self.path / "onnx" / "model.onnx")
        size, padding = max(len(row.ids) for row in rows), self.config["pad_token_id"]
        feed = {
            "input_ids": np.array([row.ids + [padding] * (size - len(row.ids)) for row in rows]),
            "attention_mask": np.array([[1] * len(row.ids) + [0] * (size - len(row.ids)) for row in rows]),
            "token_type_ids": np.array([row.type_ids + [0] * (size - len(row.ids)) for row in rows]),
        }
        names = [one.name for one in session.get_outputs()]
        asked = {one.name for one in session.get_inputs()}
        assert {"input_ids", "attention_mask"} <= asked <= feed.keys()
        found = session.run(names, {name: feed[name] for name in asked})
        return dict(zip(names, found, strict=True)), feed["attention_mask"]

    def embeddings(self, texts: list[str]) -> np.ndarray:
        outputs, mask = self.outputs(texts)
        hidden, mask = outputs["last_hidden_state"], mask.astype(np.float32)
        modes = json.loads((self.path / "1_Pooling" / "config.json").read_text())
        if modes["pooling_mode_cls_token"]:  # the server looks in this order
            return hidden[:, 0]
        if modes["pooling_mode_mean_tokens"]:
            return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        assert modes["pooling_mode_lasttoken"]
        return hidden[np.arange(len(texts)), mask.sum(1).astype(int) - 1]


def read(path: Path) -> Folder:
    """The server stops at a configuration without one of these."""
    config = json.loads((path / "config.json").read_text())
    for name in ("architectures", "model_type", "max_position_embeddings", "hidden_size", "num_hidden_layers"):
        assert config[name], name
    longest = json.loads((path / "sentence_bert_config.json").read_text())["max_seq_length"]
    return Folder(path, config, longest)
