"""Which code a result is of: a hash over the sources that can change one."""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES = (
    *(f"padnet_hf/{floor}" for floor in ("method", "layers", "models", "adapters", "training", "jobs")),
    *("examples/glue", "examples/vision", "studies/cell"),
)


@cache
def code_version(root: Path = ROOT, sources: tuple[str, ...] = SOURCES) -> str:
    """Twelve hexadecimal digits, over the folders `sources`. Comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for folder in sources:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode())
            digest.update(_bare(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:12]


def _bare(source: str) -> str:
    """The syntax tree as text, without docstrings, the same in every version of Python."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            body[0] = ast.Pass()
        if isinstance(node, ast.JoinedStr):
            node.values = [part for part in node.values if ast.unparse(part) != "''"]  # which Python 3.12.1 adds
    return _dump(tree)


def _dump(node: Any) -> str:
    """As ast.dump, which says more of empty fields in one version of Python than in another: they are left out here."""
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{name}={_dump(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({', '.join(fields)})"


def _is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
