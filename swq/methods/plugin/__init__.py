"""Methods of other packages. In params.yaml such a method is `{name: plugin, plugin: its name}`.

So every method has a folder here, on which DVC can depend; the hash of the package's source stands in the cell.
"""

from __future__ import annotations

from swq.methods import METHODS
from swq.methods.base import Method
from swq.plugins import METHODS as GROUP
from swq.plugins import added

NAME = "plugin"


def plugin_methods() -> dict[str, type[Method]]:
    """Return the methods that installed packages add, by name.

    Raises:
        UserError: one cannot be imported, is no Method, or takes a name of this project.
    """
    return added(GROUP, Method, {*METHODS, NAME})


def every_method() -> dict[str, type[Method]]:
    """Return this project's methods and those of installed packages, by name.

    Raises:
        UserError: as `plugin_methods`.
    """
    return METHODS | plugin_methods()
