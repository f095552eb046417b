"""The one file of code in a checkpoint."""

import json
import re
import runpy
from pathlib import Path

import pytest

import padnet_hf
from padnet_hf import PADBertConfig, PADResNetConfig
from padnet_hf.hub.code_shim import SHIM_MODULE, auto_map, write_shim
from tests.hub.published import Published

SAVE_AGAIN = """
import json, sys
from pathlib import Path
from transformers import AutoModel, AutoModelForImageClassification, AutoModelForSequenceClassification

auto_classes = {"bert-element": AutoModelForSequenceClassification, "resnet-unit": AutoModelForImageClassification}
told = {}
for name, auto_class in auto_classes.items():
    model = auto_class.from_pretrained(name, trust_remote_code=True)
    model.save_pretrained(f"{name}-again")
    AutoModel.from_pretrained(name, trust_remote_code=True).save_pretrained(f"{name}-bare")
    again = auto_class.from_pretrained(f"{name}-again", trust_remote_code=True)
    from tests.hub.cases import logits_of, make_batch
    first, second = (logits_of(one, make_batch(name.split("-")[0])) for one in (model, again))
    told[name] = first.equal(second)
print(json.dumps(told))
"""
WITHOUT_PACKAGE = """
import sys

class NotInstalled:
    def find_spec(name, *rest):
        if name.partition(".")[0] == "padnet_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled)
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
for auto_class in (AutoConfig, AutoModel, AutoModelForSequenceClassification):
    for trust in (True, False):
        try:
            auto_class.from_pretrained("org/bert-unit", trust_remote_code=trust)
        except Exception as error:
            print(type(error).__name__, " ".join(str(error).split()))
"""


@pytest.mark.parametrize("config", [PADBertConfig, PADResNetConfig])
def test_the_file_has_every_class_that_auto_map_names_and_they_are_the_packages(config: type, tmp_path: Path) -> None:
    write_shim(tmp_path, config.auto_classes)
    names = runpy.run_path(str(tmp_path / f"{SHIM_MODULE}.py"))
    for auto_class, path in auto_map(config.auto_classes).items():
        module, name = path.split(".")
        assert module == SHIM_MODULE
        assert names[name] is getattr(padnet_hf, name), auto_class
    assert sorted(names["__all__"]) == sorted(config.auto_classes.values())


def test_a_model_loaded_by_its_own_code_is_saved_with_the_same_code(published: Published, tmp_path: Path) -> None:
    for name in ("bert-element", "resnet-unit"):
        published.save(name, tmp_path / name)
    done = published.hub.run(SAVE_AGAIN, home=tmp_path, offline=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {"bert-element": True, "resnet-unit": True}
    for name in ("bert-element", "resnet-unit"):
        for again in (tmp_path / f"{name}-again", tmp_path / f"{name}-bare"):
            assert [path.name for path in again.glob("*.py")] == ["modeling_padnet.py"]
            assert (again / "modeling_padnet.py").read_bytes() == published.files(name)["modeling_padnet.py"]
            first = json.loads(published.files(name)["config.json"])["auto_map"]
            assert json.loads((again / "config.json").read_text())["auto_map"] == first


def test_without_the_package_the_error_names_it(published: Published, tmp_path: Path) -> None:
    done = published.hub.run(WITHOUT_PACKAGE, home=tmp_path, warnings=None)
    trusted, untrusted = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
    assert len(trusted) == len(untrusted) == 3
    for line in trusted:
        assert re.match(r"ImportError This model needs the package padnet_hf\. .*install it from its source code", line)
        assert "pip install padnet_hf" not in line
    for line in untrusted:
        assert re.match(r"ValueError .*contains custom code .*trust_remote_code=True", line)
