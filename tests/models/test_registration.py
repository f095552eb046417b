"""Whatever is imported first, the Auto classes know the PAD models. The cases with programs are new processes."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import BertTokenizer, ConvNextImageProcessorPil, PreTrainedConfig

from padnet_hf import PADBertConfig, PADBertModel, PADResNetConfig
from padnet_hf.models import registration

BERT = """
from transformers import AutoConfig, AutoModel, AutoTokenizer
loaded = [auto_class.from_pretrained(folder) for auto_class in (AutoTokenizer, AutoModel, AutoConfig)]
assert [type(one).__name__ for one in loaded] == ["BertTokenizer", "PADBertModel", "PADBertConfig"], loaded
"""
RESNET = """
import padnet_hf
from transformers import AutoConfig, AutoImageProcessor, AutoModel
assert type(AutoImageProcessor.from_pretrained(folder)).__name__ == "ConvNextImageProcessorPil"
config = AutoConfig.for_model("pad_resnet", embedding_size=8, hidden_sizes=[16], depths=[1], layer_type="basic")
assert type(AutoModel.from_config(config)) is padnet_hf.PADResNetModel
"""
UNPICKLED = """
import pickle
config = pickle.loads({pickled})
from transformers import AutoModel
assert type(AutoModel.from_config(config)).__name__ == "PADBertModel"
"""
FIRST = [
    "import padnet_hf",
    "import transformers; import padnet_hf",
    "from transformers import AutoModel, AutoTokenizer; import padnet_hf",
    "from padnet_hf import PADBertConfig",
    "from padnet_hf import PADTrainer",
    "import padnet_hf.models.registration",
    # they import Auto classes when they are half imported themselves
    "import padnet_hf; from transformers import BertConfig",
    "import padnet_hf; from transformers import BertModel",
    "import padnet_hf; from transformers import PreTrainedModel",
    "import padnet_hf; from transformers import pipeline",
]
SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 5}


def run_fresh(program: str, folder: Path) -> None:
    program = f"folder = {str(folder)!r}\n{program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST)
def test_a_checkpoint_is_loaded_whatever_is_imported_first(first: str, tmp_path: Path) -> None:
    BertTokenizer({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "fine": 4}).save_pretrained(tmp_path)
    PADBertModel(PADBertConfig(**SMALL)).save_pretrained(tmp_path)
    run_fresh(first + BERT, tmp_path)


def test_an_image_processor_is_loaded_first(tmp_path: Path) -> None:
    PADResNetConfig().save_pretrained(tmp_path)
    ConvNextImageProcessorPil(size={"shortest_edge": 48}).save_pretrained(tmp_path)
    run_fresh(RESNET, tmp_path)


def test_an_unpickled_configuration_makes_a_model(tmp_path: Path) -> None:
    """As in a process that is spawned: the package is imported by the pickle alone."""
    run_fresh(UNPICKLED.format(pickled=pickle.dumps(PADBertConfig(**SMALL))), tmp_path)


@pytest.mark.parametrize("config", [PADBertConfig, PADResNetConfig])
def test_a_stand_in_does_what_the_configuration_does(config: type[PreTrainedConfig]) -> None:
    stand_in = getattr(registration, config.__name__)
    assert stand_in is not config
    assert type(stand_in(num_labels=3)) is type(stand_in.from_dict({"num_labels": 3})) is config
    assert stand_in.from_dict({"num_labels": 3}).num_labels == 3
    assert (stand_in.model_type, stand_in.auto_classes) == (config.model_type, config.auto_classes)
    assert pickle.loads(pickle.dumps(stand_in)) is stand_in
