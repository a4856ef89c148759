"""open_clip without the packages that it imports and a CLIP seldom needs, as a copy under another name.

``import open_clip`` loads torchvision, PyTorch's compiler, all of timm and, where it is installed, transformers: more
than PyTorch itself. A plain vision transformer with a plain text tower uses none of them. So open_clip's own files are
executed under another name, where imports of those packages are put off until something of them is used **[derived]**.
The code that builds a model, loads its weights and computes is the same, and so is every number.

``sys.modules["open_clip"]`` and the packages themselves stay as they are: whoever imports them gets them whole. Where
open_clip has been imported already, or no copy can be made of it (another version, another Python), it is used itself.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import pkgutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, TypeVar

from deltaoe.errors import DeltaoeError

T = TypeVar("T")

_COPIES = f"{__name__}.copies"  # the package that the copies are in
_OPEN_CLIP, _TIMM = "open_clip", "timm"
_PUT_OFF = frozenset({"huggingface_hub", _TIMM, "torchvision", "transformers"})
# open_clip's losses use it, which nothing here computes. The statement binds torch, which is there.
_LEFT_OUT = "torch.distributed.nn"

_lock = threading.Lock()
_failed = False


def open_clip() -> Any:
    """open_clip: its copy, or the package itself where that is imported already or no copy can be made."""
    global _failed
    with _lock:
        if _OPEN_CLIP not in sys.modules and not _failed:
            try:
                return _copy()
            except Exception:  # whatever other versions do otherwise, the package itself was made for
                _failed = True
    return importlib.import_module(_OPEN_CLIP)


def with_open_clip(work: Callable[[Any], T]) -> T:
    """What ``work`` returns for open_clip; what fails with the copy is done again with the package itself.

    Raises:
        Exception: what ``work`` raises for the package itself; or a DeltaoeError, whatever it was called with.
    """
    package = open_clip()
    if package is sys.modules.get(_OPEN_CLIP):
        return work(package)
    try:
        return work(package)
    except DeltaoeError:
        raise
    except Exception:
        package = importlib.import_module(_OPEN_CLIP)
    return work(package)


def _copy() -> ModuleType:
    """open_clip's copy. Raises an exception of any kind where there can be none."""
    if _COPIES not in sys.modules:
        package = ModuleType(_COPIES, "Copies of packages in which some imports are put off.")
        package.__path__ = []
        sys.modules[_COPIES] = package
        sys.meta_path.insert(0, _Finder)
    importlib.import_module("torch")  # whole, before a part of it is left out
    return importlib.import_module(f"{_COPIES}.{_OPEN_CLIP}")


class _Finder:
    """Finds a copy's modules in the files of the package itself."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's file, with a loader that puts imports off; None for all that is no copy."""
        if not name.startswith(f"{_COPIES}."):
            return None
        original = name.removeprefix(f"{_COPIES}.")
        whole = (
            importlib.util.find_spec(original) if "." not in original else PathFinder.find_spec(name, path)
        )
        if whole is None or whole.origin is None or not isinstance(whole.loader, SourceFileLoader):
            return None
        return importlib.util.spec_from_file_location(
            name,
            whole.origin,
            loader=_Loader(name, whole.origin),
            submodule_search_locations=whole.submodule_search_locations,
        )


class _Loader(SourceFileLoader):
    """Executes a file, from its cached bytecode where there is one, with an ``import`` statement of its own."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module. Python takes ``__import__`` from the built-ins that a module's globals name."""
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)
        # Marking functions that a compiler must leave alone would import the compiler; none runs here.
        compiler = getattr(sys.modules.get("torch"), "compiler", None)
        disable = getattr(compiler, "disable", None)
        for name, value in list(vars(module).items()):
            if disable is not None and value is disable:
                setattr(module, name, _unmarked)


def _unmarked(function: Any = None, *arguments: Any, **options: Any) -> Any:
    """Stands for ``torch.compiler.disable``, with or without arguments: the function as it is."""
    return function if function is not None else lambda marked: marked


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names that Python gives them
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """The import statement of a copy's modules."""
    importer = str((globals or {}).get("__name__", "")).removeprefix(f"{_COPIES}.").partition(".")[0]
    top = name.partition(".")[0]
    if not level and top == importer:
        module = builtins.__import__(f"{_COPIES}.{name}", globals, locals, fromlist or (), 0)
        return module if fromlist else sys.modules[f"{_COPIES}.{top}"]
    if not level and top in _PUT_OFF and (top == _TIMM or top not in sys.modules):
        if importlib.util.find_spec(top) is None:
            raise ModuleNotFoundError(f"No module named {top!r}", name=top)
        where = f"{_COPIES}." if top == _TIMM else ""
        return _Later(where + (name if fromlist else top))
    if not level and name == _LEFT_OUT and not fromlist:
        return sys.modules["torch"]
    return builtins.__import__(name, globals, locals, fromlist or (), level)


class _Later:
    """A module, or something in one, that is imported when it is used.

    Args:
        path: its name, with dots.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> _Later:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(f"{self._path}.{name}")

    def _found(self) -> Any:
        return pkgutil.resolve_name(self._path)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._found()(*arguments, **options)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._found())

    def __subclasscheck__(self, kind: type) -> bool:
        return issubclass(kind, self._found())

    def __iter__(self) -> Any:
        return iter(self._found())

    def __getitem__(self, key: Any) -> Any:
        return self._found()[key]

    def __or__(self, other: Any) -> Any:  # in annotations
        return self

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (_Unmade,)


class _Unmade:
    """Stands for a base class that is not imported; classes below it are defined, and have no instances."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        raise TypeError(f"{type(self).__name__} needs a package whose import was put off")
