"""The YAML of a recipe: its values, the line and the text of each, and errors that say what to quote.

YAML reads `007`, `no` and `2024-01-01` as something else than text, `*.lock` and `!tests/` as signs of its own. Where a
recipe means text, the error names the key and says to quote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import yaml

from homeground.base.errors import RecipeError

_TAG = "tag:yaml.org,2002:"
_KINDS = frozenset(_TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map"))
_ALIAS = "while scanning an alias"
_SIGNS = ("while scanning an alias", "while scanning an anchor", "while scanning a tag", "while parsing a tag",
          "while scanning a directive", "while scanning for the next token")  # fmt: skip
"""Where the scanner is when a value begins with a sign of YAML, such as `*.lock`."""
_SIGN_NAMES = {"*": "an alias", "&": "an anchor", "!": "a tag", "%": "a directive", "@": "a sign of its own",
               "`": "a sign of its own"}  # fmt: skip
_MOST_BITS = 1024  # of a number; the largest float has as many
_MOST_SHOWN = 60  # characters of a value in a message

type Key = tuple[str | int, ...]
type Written = tuple[int, str | None]
"""The line of a key, and its value as the file says it where that is plain and not quoted."""


class _Loader(yaml.SafeLoader):
    """YAML with the plain values of a recipe: text, numbers, true and false, null, dates (which no key takes).

    Floats are those people write (plain YAML 1.1 reads `5e-4` as text), and `1:30` is no number. There are no aliases,
    which can make a small file endless, no merged keys, and no tags but those of plain values.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                context=_ALIAS,
                context_mark=event.start_mark,
                problem="aliases (*name) are not allowed",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Quotes what any reader of YAML takes for something else than text, this one included."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in (_TAG + "bool", _TAG + "null", _TAG + "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern in {
    "int": r"^[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$",
    "float": r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
    r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
}.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(_pattern), list("-+0123456789."))


def dump(document: object) -> str:
    """YAML that `parse` reads back to an equal document."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse(text: str, source: str) -> tuple[dict[str, Any], dict[Key, Written]]:
    """The values of a recipe's text, and where each stands.

    Raises:
        RecipeError: it is no YAML, or holds what a recipe may not. `where` is `SOURCE:LINE`.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        lines = dict(_key_lines(loader, node, (), source))
        values: object = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, source) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise RecipeError(
            f"the recipe is not valid YAML: {str(error).splitlines()[0]}",
            where=source,
            hint="a recipe is plain text: sections with keys below them",
        ) from None
    if not isinstance(values, dict):
        raise RecipeError(
            "a recipe is a mapping of sections", where=f"{source}:1", hint="start it with a section, such as 'sft:'"
        )
    return cast("dict[str, Any]", values), lines


def _syntax_error(error: yaml.MarkedYAMLError, text: str, source: str) -> RecipeError:
    mark = error.problem_mark or error.context_mark
    hint = "check the indentation and the colons near that line, and quote text that holds signs such as : # * ! @"
    message = f"the recipe is not valid YAML: {error.problem or error.context}"
    if mark is None:
        return RecipeError(message, where=source, hint=hint)
    lines = text.splitlines()
    sign = error.context_mark if error.context_mark is not None and error.context in _SIGNS else mark
    line = lines[sign.line] if sign.line < len(lines) else ""
    begun = line[sign.column :]
    if begun.startswith("\t"):
        hint = "indent with spaces, not with tabs"
    elif error.context in _SIGNS and begun[:1] in _SIGN_NAMES:
        value = short(re.split(r",? |[,\]}]|$", begun, maxsplit=1)[0])
        message = (
            f"'{_key_of_line(lines, sign.line)}': YAML reads {value} as {_SIGN_NAMES[begun[0]]}, and a recipe has none"
        )
        hint = f'if it is text, quote it: "{value}"'
    return RecipeError(message, where=f"{source}:{mark.line + 1}", hint=hint)


def _key_of_line(lines: list[str], number: int) -> str:
    """The key that a line belongs to, by its indentation: the file as a whole could not be read."""
    found: list[str] = []
    limit = 1 << 30
    for line in reversed(lines[: number + 1]):
        match = re.match(r"(\s*)(?:- )?([\w.-]+):(?:\s|$)", line)
        item = re.match(r"\s*", line)
        if match and len(match[1]) < limit:
            found.insert(0, match[2])
            limit = len(match[1])
        elif not found and line.lstrip().startswith("-") and item:
            limit = min(limit, item.end() + 1)  # a list may stand as far in as its key
    return ".".join(found) or "?"


def _key_lines(loader: _Loader, node: yaml.Node | None, key: Key, source: str) -> Iterator[tuple[Key, Written]]:
    """The 1-based line on which each key (or list item) of the file stands, and what is written there."""
    if node is not None:
        _check(loader, node, key, f"{source}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for name_node, value in node.value:
            name = str(name_node.value)
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                raise RecipeError(
                    f"a key of '{dotted(key) or 'the recipe'}' is a list or a mapping",
                    where=f"{source}:{line}",
                    hint="a key is a name",
                )
            if name_node.tag != _TAG + "str":
                raise RecipeError(
                    f"the key {short(name)} of '{dotted(key) or 'the recipe'}' is not text",
                    where=f"{source}:{line}",
                    hint=f'if it is a name, quote it: "{short(name)}"',
                )
            if name in seen:
                raise RecipeError(
                    f"the key '{dotted((*key, name))}' is given twice, first on line {seen[name]}",
                    where=f"{source}:{line}",
                    hint="keep one of the two",
                )
            seen[name] = line
            yield (*key, name), (line, _plain(value))
            yield from _key_lines(loader, value, (*key, name), source)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield (*key, position), (item.start_mark.line + 1, _plain(item))
            yield from _key_lines(loader, item, (*key, position), source)


def _plain(node: yaml.Node) -> str | None:
    return str(node.value) if isinstance(node, yaml.ScalarNode) and node.style is None else None


def _check(loader: _Loader, node: yaml.Node, key: Key, where: str) -> None:
    """Refuse values that YAML reads as something else than what stands there."""
    written = short(str(node.value)) if isinstance(node, yaml.ScalarNode) else ""
    if node.tag not in _KINDS:
        tag = node.tag.replace(_TAG, "!!")
        raise RecipeError(
            f"'{dotted(key)}': YAML reads {short(tag)} as a tag, and a recipe has none",
            where=where,
            hint=f'if it is text, quote it: "{short(tag.rstrip(","))}"',
        )
    if not isinstance(node, yaml.ScalarNode):
        return
    hint = f'if it is text, quote it: "{written}"'
    if node.tag == _TAG + "int" and re.fullmatch(r"[-+]?0[\d_]+", str(node.value)):
        raise RecipeError(
            f"'{dotted(key)}': {written} begins with a zero, and may be text or a number in octal or decimal",
            where=where,
            hint=f"{hint}; if it is a number, write it without the zero",
        )
    try:
        value: object = loader.construct_object(node)
    except (ValueError, KeyError, AttributeError, OverflowError):
        value = None
    kind = node.tag.removeprefix(_TAG)
    if (value is None and kind != "null") or (isinstance(value, int) and value.bit_length() > _MOST_BITS):
        what = {"int": "too large a number, or none", "timestamp": "no date", "bool": "neither true nor false"}
        raise RecipeError(f"'{dotted(key)}': {written} is {what.get(kind, 'no number')}", where=where, hint=hint)


def shown(value: object) -> str:
    """A value in Python's words; Python itself refuses to write out a number of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    return repr(value)


def short(text: str) -> str:
    """A value as messages show it, which may be of any length."""
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN // 2]}... ({len(text)} characters)"


def dotted(key: Key) -> str:
    """`section.key`, as messages name it."""
    return ".".join(str(part) for part in key)
