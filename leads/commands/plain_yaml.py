"""A YAML file is read, and what is wrong with it is told in plain words: the library speaks of tokens and scalars."""

from __future__ import annotations

from typing import Any

import yaml

_CANNOT_BEGIN = "a value cannot begin with such a character. Put it in quotes."
_NOT_CLOSED = "a bracket of line {began} is not closed, or a comma is missing."
_PLAINER = {  # how the library's words begin → ours; began: the line where what it speaks of begins; note: its name
    "mapping values are not allowed": "no colon is expected here. Put a text that holds one in quotes, or look whether "
    "the line above lacks one.",
    "could not find expected ':'": "a name without a colon, or a text that belongs further to the right.",
    r"found character '\t'": "a tab. Indent with spaces.",
    "found character": _CANNOT_BEGIN,
    "found undefined alias": _CANNOT_BEGIN,
    "expected alphabetic or numeric character": _CANNOT_BEGIN,
    "expected chomping or indentation": _CANNOT_BEGIN,
    "could not determine a constructor": _CANNOT_BEGIN,
    "expected <block end>": "this does not fit the lines above. Look at its indentation, and at quotes that are closed "
    "too early.",
    "expected ',' or": _NOT_CLOSED,
    "expected the node content": "a value is missing.",
    "found unexpected end of stream": "the quotes that are opened in line {began} are not closed.",
    "found unknown escape character": "a backslash in double quotes. Put the text in single quotes.",
    "found unhashable key": "the name before a colon must be a text. Put braces and brackets in quotes.",
    "but found another document": "a second document begins. Leave one of them in the file.",
    "repeated key": "“{note}” stands here again, after line {began}. Leave one of them.",
    "no such value": "this looks like a date or a number, and is none. Put it in quotes.",
}

_MERGE = "tag:yaml.org,2002:merge"  # `<<`, of which all count


class YamlError(ValueError):
    """It is not YAML. The text says where and why, in a sentence."""


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The library keeps the last of several, and says nothing."""
        node = super().compose_mapping_node(anchor)
        first: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                began = first.setdefault(key.value, key.start_mark)
                if began is not key.start_mark:
                    raise yaml.MarkedYAMLError(None, began, "repeated key", key.start_mark, note=key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError:  # of a date such as 2026-02-31, without a place
            raise yaml.MarkedYAMLError(problem="no such value", problem_mark=node.start_mark) from None


def load_yaml(text: str) -> Any:
    """What a YAML file holds. Raises YamlError."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        raise YamlError(_sentence(error)) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        told = f"line {len(before)}, column {len(before[-1]) + 1}: a character that cannot be printed. Delete it."
        raise YamlError(f"The file is not YAML, {told}") from None


def _sentence(error: yaml.MarkedYAMLError) -> str:
    words, mark = error.problem or "", error.problem_mark or error.context_mark
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    began = error.context_mark.line + 1 if error.context_mark else "?"
    plainer = next((ours for theirs, ours in _PLAINER.items() if words.startswith(theirs)), None)
    told = plainer.format(began=began, note=error.note) if plainer else f"this cannot be understood ({words})."
    return f"The file is not YAML{place}: {told}"
