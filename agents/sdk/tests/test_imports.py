"""The modules of the SDK import one another in one direction, those for type checkers included."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import devart

_PACKAGE = Path(devart.__file__).parent


def _imports(source: str, modules: set[str]) -> set[str]:
    """Return which of `modules` a module imports, also in functions and for type checkers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from devart import exact_json` is of a module, `from devart.errors import NotFound`
            # of a name in one.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules or {node.module}
    return found & modules


def _require_no_circle(sources: dict[str, str]) -> None:
    graph = {module: _imports(source, set(sources)) for module, source in sources.items()}
    TopologicalSorter(graph).prepare()


def test_no_module_is_imported_by_what_it_imports() -> None:
    sources = {
        f"devart.{path.stem}": path.read_text()
        for path in _PACKAGE.glob("*.py")
        if path.stem != "__init__"
    }
    assert "devart.client" in sources
    _require_no_circle({**sources, "devart": (_PACKAGE / "__init__.py").read_text()})


@pytest.mark.parametrize(
    "back",
    [
        "from devart import a",
        "import devart.a",
        "from devart.a import A",
        "def later():\n    from devart.a import A",
        "if TYPE_CHECKING:\n    from devart.a import A",
    ],
)
def test_a_circle_is_noticed(back: str) -> None:
    with pytest.raises(CycleError):
        _require_no_circle({"devart.a": "from devart.b import B", "devart.b": back})
