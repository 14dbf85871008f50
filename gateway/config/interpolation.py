"""Variables in a configuration: `${NAME}`, `${NAME:-default}`, `${file:PATH}`, and `$${` for a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.config.faults import Faults
from gateway.config.files import VARIABLE
from gateway.config.node import Node

_REFERENCE = re.compile(
    r"""\$\$\{                                                                # an escaped brace
      | \$\{ (?P<name>[A-Za-z_][A-Za-z0-9_]* | file:[^{}]+?) (?: :- (?P<default>[^{}]*) )? \}  # a variable or a file
      | \$\{                                                                  # neither: a mistake
    """,
    re.VERBOSE,
)


def interpolate(node: Node, environ: Mapping[str, str], faults: Faults) -> None:
    """Put the environment's values into the text of a node.

    It happens after the YAML is read, so a value cannot add keys or lines. An empty variable counts as not set, as in a
    shell's `:-`: in practice it is a secret that somebody forgot to fill in.
    """

    def value_of(reference: re.Match[str]) -> str:
        name, default = reference["name"], reference["default"]
        if reference[0] == "$${":
            return "${"
        if name is None:
            expected = "${NAME}, ${NAME:-default} or ${file:PATH}"
            faults.add(node, "`${` without a variable", expected, "write $${ for a plain ${")
            return ""
        node.variable = True
        if value := environ.get(name):
            return value
        if default is None and name.startswith(VARIABLE):
            faults.add(node, f"the file {name.removeprefix(VARIABLE)} cannot be read or is empty", "a file with text")
        elif default is None:
            state = "is empty" if name in environ else "is not set"
            faults.add(node, f"the variable {name} {state}", f"it in the environment, or ${{{name}:-default}}")
        return default or ""

    node.value = _REFERENCE.sub(value_of, node.value)
