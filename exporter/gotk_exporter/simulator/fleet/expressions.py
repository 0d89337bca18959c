"""Whether a Kustomization's health check expressions can be read at all; evaluates none of them.

Only what a person breaks by accident is found: brackets and quotes that do not match, an operator with nothing behind
it.
"""

from __future__ import annotations

from gotk_exporter.simulator.fleet.objects import Json

_PAIRS = {")": "(", "]": "[", "}": "{"}
_FIELDS = ("inProgress", "failed", "current")


def expression_error(obj: Json) -> str:
    """Why the object's expressions are invalid; empty if they are not."""
    for index, check in enumerate(obj["spec"].get("healthCheckExprs", ())):
        for field in _FIELDS:
            if field in check and not _is_readable(check[field]):
                kind = check.get("kind", "")
                return (
                    f"failed to create custom status evaluator for healthchecks[{index}] ({kind}): failed to parse "
                    f"the expression {field}: failed to parse the CEL expression '{check[field]}': "
                    "ERROR: <input>:1:1: Syntax error"
                )
    return ""


def _is_readable(expression: str) -> bool:
    open_brackets: list[str] = []
    quote = ""
    for character in expression:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _PAIRS.values():
            open_brackets.append(character)
        elif character in _PAIRS and (not open_brackets or open_brackets.pop() != _PAIRS[character]):
            return False
    text = expression.strip()
    return bool(text) and not quote and not open_brackets and text[-1] not in "=&|!<>+-*/.?:,"
