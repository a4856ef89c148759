"""Signatures of the API reference: types as they stand in the source, without what describes options there."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from typing import Any


class _Plain(ast.NodeTransformer):
    """``Annotated[int, Option(…)]`` becomes ``int``, and ``npt.NDArray`` becomes ``NDArray``."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if (
            isinstance(node.value, ast.Name)
            and node.value.id == "Annotated"
            and isinstance(node.slice, ast.Tuple)
        ):
            return node.slice.elts[0]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Name(node.attr) if isinstance(node.value, ast.Name) and node.value.id == "npt" else node


def plain(annotation: Any) -> str:
    """An annotation in words.

    Example:
        >>> plain("Annotated[int, Option('Images.', at_least=1)] | None")
        'int | None'
    """
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return ast.unparse(_Plain().visit(ast.parse(text, mode="eval")))


def signature(
    _app: Any, what: str, _name: str, shown: Any, _options: Any, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """What Sphinx's event ``autodoc-process-signature`` asks for: the arguments and the type returned."""
    if arguments is None or what not in ("class", "exception", "function", "method"):
        return arguments, returned
    try:
        found = inspect.signature(shown)
    except (TypeError, ValueError):  # of a built-in
        return arguments, returned
    defaults = {field.name: field.default_factory for field in _fields(shown)}
    said = []
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in said:
            said.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        text = stars + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {plain(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            factory = defaults.get(parameter.name, dataclasses.MISSING)
            text += f" = {_default(parameter.default, factory)}"
        said.append(text)
    gives = (
        ""
        if what in ("class", "exception") or found.return_annotation is found.empty
        else found.return_annotation
    )
    return f"({', '.join(said)})", plain(gives) if gives else None


def _fields(shown: Any) -> tuple[Any, ...]:
    """The fields of a dataclass; of anything else none."""
    return dataclasses.fields(shown) if dataclasses.is_dataclass(shown) else ()


def _default(value: Any, factory: Any) -> str:
    """A default value; of one that is made anew each time, how."""
    if factory is not dataclasses.MISSING:
        return f"{factory.__name__}()" if isinstance(factory, type) else "..."
    return value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)
