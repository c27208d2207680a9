"""The rooms of the two packages: imports go one way, and no module of the data side needs torch."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import ecd_data
import ecd_models

# Verdicts on whole folders and stores stand above the checks of one density, though they share a folder.
OWN_ROOMS = {"ecd_data.checks.verdicts"}


def modules() -> dict[str, Path]:
    """Every module of both packages by its dotted name."""
    found = {}
    for package in (ecd_data, ecd_models):
        root = Path(str(package.__file__)).parent
        for path in root.rglob("*.py"):
            parts = (root.name, *path.relative_to(root).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports_of(path: Path, names: set[str], lazy: bool) -> Iterator[str]:
    """The modules that one imports, without what only type checkers read; lazy: also those imported in functions."""
    todo: list[ast.AST] = [ast.parse(path.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (full if (full := f"{node.module}.{one.name}") in names else node.module for one in node.names)
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        todo += ast.iter_child_nodes(node)


def room_of(module: str) -> str:
    return module if module in OWN_ROOMS else ".".join(module.split(".")[:2])


def order_of(edges: dict[str, set[str]]) -> list[str]:
    """The names so that each stands behind all it imports; raises CycleError, which names the cycle."""
    return list(graphlib.TopologicalSorter(edges).static_order())


def graph(lazy: bool) -> dict[str, set[str]]:
    paths = modules()
    names = set(paths)
    return {name: names & set(imports_of(path, names, lazy)) - {name} for name, path in paths.items()}


def test_no_two_modules_import_each_other():
    edges = graph(lazy=True)
    del edges["ecd_data"], edges["ecd_models"]  # their names load on first use
    order = order_of(edges)
    assert order.index("ecd_data.crystal") < order.index("ecd_data.density")


def test_rooms_import_one_way():
    rooms: dict[str, set[str]] = {}
    for name, others in graph(lazy=False).items():
        rooms.setdefault(room_of(name), set()).update({room_of(other) for other in others} - {room_of(name)})
    for package in ("ecd_data", "ecd_models"):
        rooms.pop(package, None)
    order = order_of(rooms)
    assert order.index("ecd_data.io") < order.index("ecd_data.store") < order.index("ecd_data.sample")
    assert (
        order.index("ecd_models.networks") < order.index("ecd_models.training") < order.index("ecd_models.evaluation")
    )


def test_the_data_side_knows_nothing_of_the_models():
    for name, others in graph(lazy=True).items():
        if name.startswith("ecd_data"):
            assert not [other for other in others if other.startswith("ecd_models")], name


def test_no_file_is_long():
    long = {name: lines for name, path in modules().items() if (lines := len(path.read_text().splitlines())) > 400}
    assert not long
