"""The commands of jaxdl, one module per command."""

# Modules with a `COMMAND`, in the order of `jaxdl --help`.
MODULES = (
    "train",
    "evaluate",
    "predict",
    "explain",
    "export",
    "show",
    "plan",
    "sweep",
    "reproduce",
    "verify",
    "list",
    "diff",
    "curves",
    "report",
    "record",
    "data",
)
