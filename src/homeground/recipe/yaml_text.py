"""Parse a recipe's YAML: its values, the line and text of each, and errors that name the value to quote.

YAML reads `007`, `no` and `2024-01-01` as other types than text, and `*.lock` and `!tests/` as syntax. Where a recipe
needs text, the error names the key, and its hint is to quote the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import yaml

from homeground.base.errors import RecipeError

_TAG = "tag:yaml.org,2002:"
_KINDS = frozenset(_TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map"))
_ALIAS, _ANCHOR, _BARE_TAG = "while scanning an alias", "while scanning an anchor", "while scanning a tag"
_SIGNS = (_ALIAS, _ANCHOR, _BARE_TAG, "while parsing a tag", "while scanning a directive",
          "while scanning for the next token")  # fmt: skip
"""Error contexts of the scanner when a value begins with a YAML indicator, such as `*.lock`."""
_SIGN_NAMES = {"*": "an alias", "&": "an anchor", "!": "a tag", "%": "a directive", "@": "a sign of its own",
               "`": "a sign of its own"}  # fmt: skip
_MOST_BITS = 1024  # of a number; the largest float has this many
_MOST_SHOWN = 60  # characters of a value in a message

type Key = tuple[str | int, ...]
type Written = tuple[int, str | None]
"""Line of a key, and its value as written in the file if that is a plain scalar without quotes."""


class _Loader(yaml.SafeLoader):
    """YAML loader for a recipe's plain values: text, numbers, true and false, null, dates (which no key accepts).

    Floats may be written as `5e-4` (text in plain YAML 1.1), and `1:30` is not a number. Aliases, which can expand a
    small file without bound, anchors, merged keys, and tags other than those of plain values are refused.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        context = _ALIAS if isinstance(event, yaml.AliasEvent) else None
        # `&a b` and `! a` would lose their first part without a word.
        if context is None and getattr(event, "anchor", None) is not None:
            context = _ANCHOR
        elif getattr(event, "tag", None) == "!":
            context = _BARE_TAG
        if context is not None:
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(context, mark, "not allowed", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """YAML dumper that quotes every text that any YAML parser reads as another type."""


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
    """Dump a document as YAML that `parse` reads back to an equal one."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def flow(value: object) -> str:
    """Dump a value as it stands behind a key, in one line."""
    text = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=True, allow_unicode=True, width=float("inf")
    )
    return text.removesuffix("...\n").strip()


def parse(text: str, source: str) -> tuple[dict[str, Any], dict[Key, Written]]:
    """Parse a recipe's text into its values and the place of each.

    Raises:
        RecipeError: it is not YAML, or holds YAML that a recipe may not use. `where` is `SOURCE:LINE`.
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
    """Find a line's key by its indentation, for a file that could not be parsed."""
    found: list[str] = []
    limit = 1 << 30
    for line in reversed(lines[: number + 1]):
        match = re.match(r"(\s*)(?:- )?([\w.-]+):(?:\s|$)", line)
        item = re.match(r"\s*", line)
        if match and len(match[1]) < limit:
            found.insert(0, match[2])
            limit = len(match[1])
        elif not found and line.lstrip().startswith("-") and item:
            limit = min(limit, item.end() + 1)  # a list may have the indentation of its key
    return ".".join(found) or "?"


def _key_lines(loader: _Loader, node: yaml.Node | None, key: Key, source: str) -> Iterator[tuple[Key, Written]]:
    """1-based line of each key (or list item) of the file, and its value as written there."""
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
    """Refuse values that YAML reads differently from their text."""
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
    """Representation of a value; Python itself refuses to print a number of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    return repr(value)


def short(text: str) -> str:
    """Representation of a value of any length, shortened for messages."""
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN // 2]}... ({len(text)} characters)"


def dotted(key: Key) -> str:
    """`section.key`, as used in messages."""
    return ".".join(str(part) for part in key)
