"""What the folders of a collection of images mean: a layout names their levels, from the top."""

from __future__ import annotations

from deltaoe.errors import ConfigError

Layout = str
"""Words ``class``, ``domain``, ``split`` and ``*`` with ``/`` between, one per level of folders, such as
``split/domain/class``; ``*`` says nothing. Or ``flat``, no classes; or ``table``, a list says them."""

FLAT, TABLE = "flat", "table"
ANY = "*"
_NAMED = ("class", "domain", "split")


def levels_of(layout: Layout) -> tuple[str, ...]:
    """The levels of a layout, from the top; none of ``flat`` and ``table``.

    Example:
        >>> levels_of("*/split/class")
        ('*', 'split', 'class')
    """
    return () if layout in {FLAT, TABLE} else tuple(layout.split("/"))


def is_layout(layout: object) -> bool:
    """Whether it is a layout: one that names a class or a split, and nothing twice.

    Example:
        >>> [is_layout(one) for one in ("class", "domain/*/class", "split", "flat", "class/class", "domain", "tree")]
        [True, True, True, True, False, False, False]
    """
    if not isinstance(layout, str):
        return False
    levels = levels_of(layout)
    named = [level for level in levels if level != ANY]
    return layout in {FLAT, TABLE} or (
        all(level in _NAMED for level in named)
        and len(set(named)) == len(named)
        and bool({"class", "split"} & set(named))
    )


def check_layout(layout: Layout) -> None:
    """Raise ConfigError unless :func:`is_layout`."""
    if not is_layout(layout):
        raise ConfigError(
            f"'--layout' cannot be {layout!r}",
            hint="name the levels of folders from the top, as in 'class', 'domain/class', 'split/class', "
            "'class/split' or '*/class' (* is any folder); or flat, table, auto",
        )
