"""Facts about the repository itself: which way imports point, what is declared, and that named paths exist."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("schemas", "topology", "detectors", "streams", "deploy")
"""Each may import itself and those before it."""
PACKAGES = (*LAYERS, "benchmarks")
NEED_THE_LOCAL_EXTRA = ("deploy/local", "deploy/doctor.py", "benchmarks")
"""Folders and files that may import more than the core install has; doctor does so only after a look."""
LIVES_IN_ENVIRONMENTS_OF_ITS_OWN = "benchmarks/peers/jobs"
"""Imports what benchmarks/peers/pins names, which never is in our lock."""


def python_files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, those inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    later = set(LAYERS[LAYERS.index(layer) + 1 :]) | {"benchmarks", "tests"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in python_files(layer)
        for line, module in imports(path)
        if module.split(".")[0] in later
    ]
    assert not wrong, f"{layer} may import {' and '.join(LAYERS[: LAYERS.index(layer) + 1])} only"


def names_made_in(function: ast.FunctionDef) -> set[str]:
    """What a function assigns, its arguments left out."""
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def test_no_kernel_takes_the_address_of_an_array_that_it_made() -> None:
    """numba frees such an array after its last mention, and the kernel writes into whatever comes to lie there."""
    taken = 0
    wrong = []
    for path in (path for folder in PACKAGES for path in python_files(folder)):
        for function in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "address_of":
                    taken += 1
                    root = call.args[0]
                    while isinstance(root, ast.Attribute | ast.Subscript):
                        root = root.value
                    if not isinstance(root, ast.Name) or root.id in names_made_in(function):
                        wrong.append(f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)} in {function.name}")
    assert not wrong
    assert taken > 20, "address_of has another name now: this test looks for nothing"


def test_no_module_imports_relatively() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in python_files(package)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong


def test_the_packages_in_pyproject_are_the_folders_with_modules() -> None:
    found = {".".join(path.relative_to(ROOT).parent.parts) for package in PACKAGES for path in python_files(package)}
    assert set(project()["tool"]["setuptools"]["packages"]) == found
    without_init = [name for name in found if not (ROOT / name.replace(".", "/") / "__init__.py").is_file()]
    assert not without_init


def test_data_files_inside_packages_are_declared_as_package_data() -> None:
    declared = project()["tool"]["setuptools"]["package-data"]
    matched = {path for package in PACKAGES for pattern in declared["*"] for path in (ROOT / package).rglob(pattern)}
    for package, patterns in declared.items():
        if package != "*":
            matched |= {path for pattern in patterns for path in (ROOT / package.replace(".", "/")).glob(pattern)}
    left_out = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc", ".md") and path not in matched
    ]
    assert not left_out


def test_every_library_that_is_imported_is_declared_where_it_is_needed() -> None:
    described = project()["project"]
    extras = described["optional-dependencies"]
    distributions = packages_distributions()
    wrong = []
    for package in (*PACKAGES, "tests"):
        for path in python_files(package):
            if path.relative_to(ROOT).as_posix().startswith(LIVES_IN_ENVIRONMENTS_OF_ITS_OWN):
                continue
            allowed = described["dependencies"]
            if package == "tests":
                allowed = allowed + extras["local"] + extras["bench"] + extras["dev"]
            elif path.relative_to(ROOT).as_posix().startswith(NEED_THE_LOCAL_EXTRA):
                allowed = allowed + extras["local"]
                if package == "benchmarks":
                    allowed = allowed + extras["bench"]
            names = {canonical(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) for requirement in allowed}
            for line, module in imports(path):
                top = module.split(".")[0]
                if top in sys.stdlib_module_names or top in PACKAGES or top == "tests":
                    continue
                if not names & {canonical(name) for name in distributions.get(top, [top])}:
                    wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong


def canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_the_lock_has_hashes_for_every_package_and_names_no_host() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    assert not re.search(r"^\s*-", lock.replace("    --hash=", ""), re.MULTILINE), (
        "an option, such as an index, is named"
    )
    entries = re.split(r"\n(?=[a-z0-9])", lock.split("\n\n")[-1])
    without = [
        entry.splitlines()[0] for entry in entries if not entry.startswith("#") and "--hash=sha256:" not in entry
    ]
    assert not without


def test_everything_that_pyproject_asks_for_is_in_the_lock() -> None:
    described = project()["project"]
    asked = described["dependencies"] + [one for extra in described["optional-dependencies"].values() for one in extra]
    locked = {
        canonical(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.M)
    }
    assert not {canonical(re.split(r"[^A-Za-z0-9._-]", one)[0]) for one in asked} - locked


@pytest.mark.parametrize("document", sorted(path.name for path in ROOT.glob("*.md")))
def test_paths_named_in_the_documents_exist(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    named = set(re.findall(r"`([\w./-]+/[\w./-]*|[\w-]+\.(?:py|md|toml|lock|sql|yaml|sh))`", text))
    named |= {link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link}
    tops = {path.name for path in ROOT.iterdir()}
    missing = [path for path in sorted(named) if path.split("/")[0] in tops | {""} or "." in path if not exists(path)]
    assert not missing


def exists(path: str) -> bool:
    return any((ROOT / base / path).exists() for base in ("", *PACKAGES)) or bool(list(ROOT.glob(path)))
