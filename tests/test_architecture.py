"""The house rules that a reader of the code relies on: which way imports point, and who may touch what."""

from __future__ import annotations

import ast
import functools
import graphlib
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = sorted([*(REPOSITORY / "deltaoe").rglob("*.py"), *(REPOSITORY / "cli").rglob("*.py")])

# From the ground up: a room imports itself and rooms of lower floors, nothing beside it and nothing above.
FLOORS = (
    {"errors"},
    {"files", "threads", "progress", "short_repr", "data_frame", "printable", "exit_codes"},
    {"progress_line"},
    {"options"},
    {"runtime"},
    {"cluster"},
    {"functional"},
    {"images"},
    {"store"},
    {"clip", "interchange", "filing"},
    {"extraction"},
    {"scoring"},
    {"discovery"},
    {"tuning", "estimator", "lite"},
    {"project", "deployment"},
    {"evaluation"},
    {"theory"},
    {"report"},
    {"demo"},
    {"cli"},
)
ROOMS = {room for floor in FLOORS for room in floor}
# Who alone may import a third party's package.
OWNERS = {
    "h5py": {"store", "interchange"},
    "safetensors": {"store", "scoring", "tuning", "demo"},
    "filelock": {"store"},
    "open_clip": {"clip", "demo"},
    "huggingface_hub": {"clip"},
    "torchvision": {"runtime"},
    "faiss": {"scoring"},
    "pyarrow": {"images", "interchange"},
    "fsspec": {"images"},
    "sklearn": {"functional", "estimator"},
    "PIL": {"images", "clip", "demo", "lite"},
    "onnx": {"deployment"},
    "onnxscript": {"deployment"},
    "onnxruntime": {"lite"},
    "jinja2": {"report"},
    "typer": {"cli"},
    "rich": {"cli", "progress_line"},
    "pandas": {"data_frame"},
    "click": set(),
    "ray": {"cluster"},
    "torch": {
        "threads",
        "functional",
        "clip",
        "scoring",
        "tuning",
        "evaluation",
        "deployment",
        "theory",
        "runtime",
        "demo",
    },
}


def part_of(file: Path) -> str:
    """``functional``, ``images`` …; ``errors`` and ``runtime`` are parts of one file; ``""`` is the package itself."""
    where = file.relative_to(REPOSITORY).parts
    if where[0] == "cli":
        return "cli"
    return "" if where == ("deltaoe", "__init__.py") else where[1].removesuffix(".py")


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def package_of(file: Path) -> str:
    """The package that a file lies in, by the name that it is imported by."""
    return "deltaoe_cli" if part_of(file) == "cli" else ".".join(file.relative_to(REPOSITORY).parts[:-1])


@functools.cache
def imports(file: Path) -> tuple[str, ...]:
    """Every module that is imported anywhere in a file, for type checking too, as an absolute name."""
    return tuple(imported(ast.walk(tree_of(file)), package_of(file).split(".")))


def imported(nodes: Iterable[ast.AST], package: list[str]) -> Iterator[str]:
    """What these nodes import, in a module of that package."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from deltaoe import data" names a part only behind the "import".
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (
                c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)
            )


def at_once(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """The statements of a module that run when it is imported, those of functions and for type checkers aside."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from at_once(node.orelse)
            continue
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            yield from at_once(getattr(node, part, ()))


def names(file: Path) -> str:
    return str(file.relative_to(REPOSITORY))


def each(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=names)


each_file = each(FILES)


def test_there_is_something_to_look_at():
    assert {part_of(file) for file in FILES} == {"", *ROOMS}
    scoring = set(imports(REPOSITORY / "deltaoe/scoring/many_labels.py"))
    assert "deltaoe.scoring.label_index.LabelIndex" in scoring
    assert "deltaoe_cli.options" in set(imports(REPOSITORY / "cli/score.py"))


@each(
    [file for file in FILES if part_of(file)]
)  # the package's own file names all parts, and loads them on demand
def test_imports_point_one_way(file):
    part = part_of(file)
    below = {room for floor in FLOORS[: next(i for i, f in enumerate(FLOORS) if part in f)] for room in floor}
    for module in imports(file):
        root, _, rest = module.partition(".")
        target = {"deltaoe": rest.partition(".")[0], "deltaoe_cli": "cli", "cli": "cli"}.get(root)
        if target is not None:
            assert target == part or target in below, f"{names(file)} imports {module}"


def test_no_files_import_each_other_in_a_circle():
    """Not even within a room, or in a function, or for type checkers alone."""
    modules = {
        f"{package_of(file)}.{file.stem}".removesuffix(".__init__"): file
        for file in FILES
        if part_of(file)  # the package's own file names all, and is imported by none
    }
    graph = {
        name: {home for one in imports(file) if (home := home_of(one, modules))}
        for name, file in modules.items()
    }
    assert "deltaoe.scoring.label_index" in graph["deltaoe.scoring.many_labels"]
    graphlib.TopologicalSorter({name: used - {name} for name, used in graph.items()}).prepare()


def home_of(imported: str, modules: Container[str]) -> str | None:
    """The module of ours that an imported name is, or lies in."""
    if imported in modules:
        return imported
    home = imported.rpartition(".")[0]
    return home if home in modules else None


def test_no_module_waits_for_itself():
    """Whichever module is imported first, none needs one that is still being imported."""
    homes = {f"{package_of(file)}.{file.stem}".removesuffix(".__init__"): file for file in FILES}
    needs = {}
    for module, file in homes.items():
        named = imported(at_once(tree_of(file).body), package_of(file).split("."))
        # "from deltaoe.store import shards" imports a module, "from deltaoe.store.shards import PATHS" out of one.
        found = {name if name in homes else name.rpartition(".")[0] for name in named}
        needs[module] = (found & homes.keys()) - {module}
    assert "deltaoe.store.shards" in needs["deltaoe.store.feature_store"]
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError


@each_file
def test_third_parties_have_one_owner(file):
    for module in imports(file):
        package = module.partition(".")[0]
        if package in OWNERS:
            assert part_of(file) in OWNERS[package], f"{names(file)} imports {module}"


@each([file for file in FILES if part_of(file) != "cli" and file.name != "__main__.py"])
def test_only_the_command_line_prints_exits_and_reads_arguments(file):
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"print", "input", "exit", "quit", "sys.exit", "os._exit"}
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in {"sys.argv", "sys.stdout", "sys.stderr", "logging.basicConfig"}


def docstrings(tree: ast.Module) -> set[int]:
    """The identities of the constants that are documentation."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, holders) and node.body and isinstance(node.body[0], ast.Expr)
    }


@each([file for file in FILES if part_of(file) != "runtime"])
def test_only_one_file_names_an_accelerator(file):
    tree = tree_of(file)
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"cuda", "mps"}, f"{names(file)}:{node.lineno}"
        text = (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
        )
        if text and file.name != "options.py" and part_of(file) != "cli":  # whose help says what can be given
            assert "cuda" not in node.value.lower(), f"{names(file)}:{node.lineno}"


@each_file
def test_no_file_is_too_long_to_read(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 350


def test_there_is_no_drawer_for_everything():
    assert not [names(file) for file in FILES if file.stem in {"utils", "util", "helpers", "misc", "common"}]


# What is loaded when

HEAVY = ["torch", "faiss", "open_clip", "h5py", "safetensors", "sklearn", "PIL", "numpy", "rich", "typer"]


def loaded_by(*modules: str) -> list[tuple[str, set[str]]]:
    """Which of the heavy packages a fresh interpreter has loaded after it has imported these, one after the other."""
    code = f"""
import importlib, sys
for module in {modules!r}:
    importlib.import_module(module)
    print(module, *[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = map(str.split, done.stdout.splitlines())
    return [(module, set(heavy)) for module, *heavy in lines]


def test_the_package_itself_loads_nothing():
    assert loaded_by("deltaoe") == [("deltaoe", set())]


def test_what_a_cached_run_needs_loads_no_model_code():
    modules = (
        "deltaoe.store.workspace",
        "deltaoe.clip.reference",
        "deltaoe.extraction.decoding",
        "deltaoe.interchange.import_export",
        "deltaoe.extraction.extract",
        "deltaoe.store.maintenance",
        "deltaoe.scoring.score",
        "deltaoe.scoring.stream",
        "deltaoe.scoring.stream",
        "deltaoe.tuning.tune",
        "deltaoe.tuning.options",
        "deltaoe.project.comparison",
        "deltaoe.project.status",
        "deltaoe_cli.main",
    )
    found = loaded_by(*modules)
    assert [module for module, _ in found] == list(modules)
    for module, heavy in found:
        assert not heavy & {"torch", "faiss", "open_clip", "sklearn"}, module


def test_scoring_and_tuning_wait_for_no_scikit_learn():
    modules = ("deltaoe.scoring.many_labels", "deltaoe.tuning.fit_detector")
    found = loaded_by(*modules)
    assert [module for module, _ in found] == list(modules)
    for module, heavy in found:
        assert "torch" in heavy and "sklearn" not in heavy, module


def test_every_public_name_is_there():
    deltaoe = importlib.import_module("deltaoe")
    for name in deltaoe.__all__:
        assert getattr(deltaoe, name).__name__ == name
        assert name in dir(deltaoe)
    with pytest.raises(AttributeError, match="no_such_name"):
        deltaoe.no_such_name  # noqa: B018


def test_names_for_type_checkers_are_the_public_ones():
    tree = tree_of(REPOSITORY / "deltaoe" / "__init__.py")
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.name: node.module for node in guarded.body for alias in getattr(node, "names", [])}
    deltaoe = importlib.import_module("deltaoe")
    assert declared == {name: f"deltaoe.{home}" for name, home in deltaoe._HOMES.items()}


# What is installed


def test_every_package_is_installed():
    setup = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {file.parent.relative_to(REPOSITORY) for file in FILES}
    wanted = {"deltaoe_cli" if folder.parts == ("cli",) else ".".join(folder.parts) for folder in folders}
    assert set(setup["packages"]) == wanted
    assert setup["package-dir"] == {"deltaoe_cli": "cli"}
    for folder in folders:
        assert (REPOSITORY / folder / "__init__.py").is_file()


def test_every_other_file_is_installed():
    setup = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = [
        pattern
        for package, entries in setup["package-data"].items()
        for entry in entries
        for pattern in [(package.replace("deltaoe_cli", "cli").replace(".", "/"), entry)]
    ]
    covered = {file for folder, pattern in patterns for file in (REPOSITORY / folder).glob(pattern)}
    for folder in ("deltaoe", "cli"):
        for file in (REPOSITORY / folder).rglob("*"):
            if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts:
                assert file in covered, names(file)
