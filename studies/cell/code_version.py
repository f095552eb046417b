"""Which code a result is of: a hash over the sources that can change one."""

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = (
    *(f"padnet_hf/{floor}" for floor in ("partition", "layers", "models", "adapters", "training", "jobs")),
    *("examples/glue", "examples/vision", "studies/cell"),
)


@cache
def code_version(root: Path = ROOT) -> str:
    """Twelve hexadecimal digits. Comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(_bare(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:12]


def _bare(source: str) -> str:
    """The syntax tree as text, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            body[0] = ast.Pass()
    return ast.dump(tree)


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
