"""Experiments, recipes, overrides, and their serialization: `resolve` and `describe` a configuration."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdl.config.overrides import resolve
    from jaxdl.config.settings import describe

__all__ = ["describe", "resolve"]


def __getattr__(name: str) -> Any:
    """Imports the functions at their first use, since the other modules are also used without JAX."""
    if name == "resolve":
        from jaxdl.config.overrides import resolve

        return resolve
    if name == "describe":
        from jaxdl.config.settings import describe

        return describe
    raise AttributeError(f"module 'jaxdl.config' has no attribute {name!r}")
