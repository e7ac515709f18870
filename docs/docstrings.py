"""What mkdocstrings does not know: bare ``>>>`` is an example, and the comment at a field of a record explains it."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).+)*", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Fences around examples, and a table of the fields of records and options."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called with each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called with each class after its members."""
        found = cls.attributes.items()
        fields = {name: field for name, field in found if field.annotation and "property" not in field.labels}
        if cls.docstring is None or "Args:" in cls.docstring.value or not any(map(_comment, fields.values())):
            return
        is_dataclass = any("dataclass" in str(decorator.value) for decorator in cls.decorators)
        given = {name for name, field in fields.items() if is_dataclass and "init=False" not in str(field.value)}
        for title, names in (("Args", given), ("Attributes", fields.keys() - given)):
            rows = "".join(f"    {name}: {_comment(fields[name]) or '–'}\n" for name in fields if name in names)
            cls.docstring.value += f"\n\n{title}:\n{rows}" if rows else ""


def _comment(field: griffe.Attribute) -> str:
    """The comment at the end of a field's line, or in the lines above it."""
    _, found, text = field.lines[-1].partition("  # ")
    if found:
        return text
    above = []
    for line in reversed(field.lines_collection[field.filepath][: field.lineno - 1]):
        if not line.strip().startswith("# "):
            break
        above.insert(0, line.strip()[2:])
    return " ".join(above)
