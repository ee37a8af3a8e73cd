"""Turn documentation comments into words: remove marks and markup, find the first sentence, tell what is none."""

from __future__ import annotations

import html
import re

from homeground.corpus.names import own_name

# A comment's own marks: of a block, how it opens, closes and begins its inner lines; else of each line.
BLOCKS = (
    (r"/\*+[*!]?<?", r"\**\*/", r"[ \t]*\*(?!\*)"),
    (r"\{-\s*[|^]?", r"-\}", r"(?!)"),
    (r"\(\*+", r"\**\*\)", r"[ \t]*\*(?!\))"),
    (r"--\[=*\[", r"(?:--)?\]=*\]", r"(?!)"),
    (r"#=+", r"=+#", r"(?!)"),
    (r"=begin\b[^\n]*", r"=end\b", r"(?!)"),
)
_LINE_MARK = re.compile(r"[ \t]*(?:///+<?|//!<?|//|#+!?(?!\[)|--+[ \t]*[|^]?|;+|%+)")
_RULE = r"[-=#*~/_+─━═]"
_BANNER = re.compile(
    rf"\s*({_RULE}|\.)\1{{2,}}.*|.*({_RULE})\2{{2,}}\s*|\s*(?:{_RULE}+\s+)?(?:[\w&,/]+\s+){{1,4}}({_RULE})\3+\s*"
)
_TITLE = re.compile(r"\s*\S+(?:\s+\S+){0,3}(?<![.:;!?])\s*")
_SHOUTED = re.compile(r"[A-Z0-9 &/,_-]+")

# From here on it is no longer about what the definition does.
_ENDS = re.compile(
    r"[ \t]*(?:"
    r"[@\\](?!(?:brief|summary|desc|description|short|abstract|code|ref|link|see\b.*\bfor\b|note)\b)[a-zA-Z]\w*"  # tags
    r"|:(?:param|parameter|type|rtype|returns?|raises?|arg|keyword|ivar|cvar|call-seq)\b[^:\n]*:"  # reST, RDoc
    r"|\s*-\s+(?:Parameters?|Returns?|Throws|Note|Important|Warning|Attention|Complexity|SeeAlso)\b[^\n]*:"  # Swift
    r"|(?:Args|Arguments|Parameters|Params|Returns?|Yields?|Raises|Throws|Options|Usage|Globals|Outputs|Inputs"
    r"|Examples?|Notes?|See also|See Also|Since|Author|Deprecated|TODO|FIXME|XXX)\s*:"  # headed sections
    r"|#+\s+(?:Examples?|Arguments|Panics|Errors|Safety|Returns|Parameters|Options)\b"  # Markdown sections
    r"|>>>\s|```|~~~"  # examples
    r")"
)
_OPENERS = re.compile(
    r"^[ \t]*[@\\](?:brief|summary|description|desc|short|abstract|note|internal(?!\s+(?:param|return))"
    r"|public|protected|private|alpha|beta|experimental|static|async|readonly|hide)\b[ \t]*:?",
    re.MULTILINE,
)
_XML = re.compile(r"<summary>(.*?)(?:</summary>|\Z)", re.DOTALL)
_INLINE = (
    (re.compile(r"\{@return\s+([^{}]+)\}"), 1),
    (re.compile(r"\{@(?:link|linkplain|code|literal|value|see|tutorial)\s+#?([^}|\s]+)(?:[|\s]+([^}]+))?\}"), 0),
    (re.compile(r"<(?:see|paramref|typeparamref|seealso)\s+\w+=\"(?:[A-Z]:)?([^\"]+)\"\s*/?>(?:</see>)?"), 1),
    (re.compile(r":[a-zA-Z:]+:`(?:[^`<]*<)?[~!]?([^`>]+)>?`"), 1),
    (re.compile(r"\[([^\[\]]+)\](?:\([^()\s]*\)|\[[^\[\]]*\])"), 1),
    (re.compile(r"\[`([^`\[\]]+)`\]"), 1),
    (re.compile(r"\{!(?:[a-z]+:)?([^}]+)\}"), 1),
    (re.compile(r"[@\\](?:p|c|a|b|e|em|ref|code)\s+(?=\S)"), -1),
    (re.compile(r"(?<!`)</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>"), -1),
    (re.compile(r"`+"), -1),
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s+[\"'(\[]*[^\sa-z]|\s*$)|[。！？]")
_ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|viz|etc|resp|approx|incl|excl|no|fig|eq|sec|ch|dr|mr|ms|st|al|[A-Z])\.)$", re.IGNORECASE
)
_ARTICLE = re.compile(r"(?:[Tt]he|[Aa]n?|struct|union|enum|typedef|class|function|macro)\s+")
_NUMBER = re.compile(r"\d+(?:\.\d+)+\.?\s+")  # of a section in a standard
_ONLY_RETURNS = re.compile(r"\s*(?::returns?:|Returns:)\s*")
_AFTER_NAME = (
    r"(?!\s+(?:of|for|from|in|to|that|which|and|or|with)\b)"  # "the name of this element" needs its first words
    r"\s*(?:[:,–—]|--?(?=\s))?\s*(?:(?:function|method|class|struct|type|interface|macro)\b\s*)?"
    r"(?:(?:is|are|was)\b\s*)?"
)
_NAMED = re.compile(r"(?:\([^()]*\))?(?![\w.])" + _AFTER_NAME)
_BRACKETED = re.compile(r"(?!\w)[^\]]*\]" + _AFTER_NAME)
_WORD = re.compile(r"[a-z'-]+(?![\w(/.\[<=]|:\S)")
_LEAST_WORDS = 2
_LONG_MARK = 4
"""A mark of more characters than this is a rule."""
_HEAD = 2000
"""Characters of a comment that are looked at: what it is about stands at its beginning."""
_TAGGED = re.compile(r"\{@[^}]*\}")
_PROSE = re.compile(r"(?:\b[A-Za-z']+\b[ ,]+){3,}")

_LICENCE = re.compile(
    r"\bSPDX-|\bcopyright\b(?=.*\d{4}|\s*\(c\)|\s*©)|\ball rights reserved\b|\blicen[sc]ed? under\b"
    r"|\bthis (?:source )?(?:file|code|software|program|library) is (?:part of|free|licen|subject|govern|distrib)"
    r"|\bpermission is hereby granted\b|\buse of this source code is governed\b",
    re.IGNORECASE | re.DOTALL,
)
_DIRECTIVE = re.compile(
    r"\s*(?:go:\w+|line\s+\S+:\d+|nolint|export\s+\w+$|\+build|eslint[-\s]|tslint:|jshint\s|jslint\s"
    r"|prettier-|biome-|stylelint"
    r"|@ts-|@flow|@jsx|[@#]__(?:PURE|NO_SIDE_EFFECTS)__"
    r"|istanbul ignore|c8 ignore|v8 ignore|webpack\w*\s*:|global\b.*:|noqa"
    r"|type:\s*ignore|pylint:|mypy:|pyright:|pragma\b|fmt:\s*(?:on|off)|yapf:|isort:|rubocop"
    r"|frozen_string_literal|steep:|typed:|sorbet"
    r"|shellcheck|luacheck|selene:|stylua:|NOLINT|clang-format|clang-tidy|cppcheck|coverity|swiftlint|swiftformat"
    r"|MARK:|(?-i:#?region(?:\s+[A-Z].*)?$)|#?endregion\b|rustfmt|ReSharper"
    r"|phpcs|@?phpstan-ignore|@?psalm-suppress|@codeCoverage|@inheritdoc|\{@inheritdoc"
    r"|@(?:hide|internal)\s*$|@nodoc|:nodoc:|:stopdoc:|:startdoc:|vim?:|-\*-|coding[:=]|hlint|credo:|dialyzer|zig fmt"
    r"|ktlint|detekt|scalafmt|scalastyle|format:\s*(?:on|off)|tflint|checkov|tfsec|sqlfluff|generated\b.*\bdo not edit"
    r"|do not edit\b|!/)",
    re.IGNORECASE,
)
_NOTE_TO_SELF = re.compile(r"\s*(?:TODO|FIXME|XXX|HACK|BUG|NB)\b", re.IGNORECASE)
_CODE_LINE = re.compile(
    r"[^.]*[;{}]\s*|\s*[\w.$>-]+(?:\[[^\]]*\])?\s*[-+*/|&:]?=\s*\S+[^.]*"
    r"|\s*(?:if|for|while|switch|return|import|from|var|let|const|val|def|func|fn|end|else|elif|public|private|static"
    r"|print\w*|local|assert|self|this)\b.*[({\[;:=]\s*|\s*(?:return\s+)?[\w.:$>-]+\([^()]*\);?\s*|\s*[)\]}]+[;,]?\s*"
)
_DECLARED = re.compile(r"\s*(?:export|const|let|var|import|public|private|static|type(?=.*=))\s.*[;{]\s*")


def unmarked(comment: str) -> str:
    """A comment's words: without what opens, closes and begins its lines, and without ornaments."""
    for opens, closes, inner in BLOCKS:
        if (opening := re.match(opens, comment)) is not None:
            body = re.sub(rf"\s*{closes}\s*\Z", "", comment[opening.end() :])
            lines = [re.sub(rf"\A{inner}", "", line) for line in body.split("\n")]
            if len(opening[0]) > _LONG_MARK and not lines[0].strip():
                lines = [opening[0], *lines[1:], opening[0]]  # a box around the words
            break
    else:
        if comment[:1] in "\"'":
            lines = comment.strip("\"'").split("\n")
        else:
            lines = [_without_mark(line) for line in comment.split("\n")]
    return "\n".join(lines)


def _without_mark(line: str) -> str:
    mark = _LINE_MARK.match(line)
    return line if mark is None or len(mark[0].strip()) > _LONG_MARK else line[mark.end() :]


def unframed(text: str) -> str:
    """A comment's words without ornaments, and without the title that stands between two of them."""
    lines = text.split("\n")
    ornaments = [_BANNER.fullmatch(line) is not None for line in lines]
    said = [at for at, line in enumerate(lines) if line.strip() and not ornaments[at]]
    if len(said) == 1 and any(ornaments[: said[0]]) and any(ornaments[said[0] :]) and _TITLE.fullmatch(lines[said[0]]):
        return ""
    return "\n".join("" if ornament else line for line, ornament in zip(lines, ornaments, strict=True))


def summary_of(text: str, symbol: str) -> str:
    """First sentence of a documentation comment, on one line and without markup; "" where nothing is left.

    Args:
        text: the comment without its marks.
        symbol: of the definition; its own name is taken off the front ("Sum adds ..." gives "Adds ...").
    """
    words = " ".join(" ".join(_first_paragraph(text[:_HEAD])).split())
    for pattern, group in _INLINE:
        words = pattern.sub(
            "" if group < 0 else lambda match, group=group: match[2] or match[1] if group == 0 else match[group], words
        )
    return _without_name(_first_sentence(" ".join(html.unescape(words).split())), own_name(symbol))


def _first_paragraph(text: str) -> list[str]:
    """Lines up to the first blank one or the first tag, section or example."""
    if (found := _XML.search(text)) is not None:
        text = found[1]
    kept: list[str] = []
    text = _OPENERS.sub("", text).strip()
    if (returns := _ONLY_RETURNS.match(text)) is not None:
        text = text[returns.end() :]
    lines = _NUMBER.sub("", text, count=1).split("\n") if _NUMBER.match(text) else text.split("\n")
    for at, line in enumerate(lines):
        if kept and not line.strip():
            if not all(map(_is_code, kept)) or not any(later.strip() for later in lines[at:]):
                break
            kept = []  # a signature that stands above the words
        elif _ENDS.match(line) and (kept or _DIRECTIVE.match(line) is None):
            break
        elif kept and line[0] in " \t" and kept[-1].rstrip().endswith((".", ":")) and _is_code(line):
            break  # an example
        elif line.strip() and (kept or _DIRECTIVE.match(line) is None):
            kept.append(line)
    return kept


def _first_sentence(words: str) -> str:
    start = 0
    while (end := _SENTENCE_END.search(words, start)) is not None:
        if not _ABBREVIATED.search(words[: end.start() + 1]):
            return words[: end.end()].strip()
        start = end.end()
    return words


def _without_name(sentence: str, name: str) -> str:
    rest = sentence
    article = _ARTICLE.match(sentence)
    for at in (article.end() if article is not None else 0, 0):
        for mark, pattern in (("", _NAMED), ("[", _BRACKETED)):
            if sentence.startswith(mark + name, at) and (own := pattern.match(sentence, at + len(mark + name))):
                rest = sentence[own.end() :]
                break
        else:
            continue
        break
    if len(rest.split()) < _LEAST_WORDS:
        return sentence
    return rest[:1].upper() + rest[1:] if _WORD.match(rest) else rest


def _is_code(line: str) -> bool:
    if _DECLARED.fullmatch(line) is not None:
        return True
    return _CODE_LINE.fullmatch(line) is not None and _PROSE.search(line) is None


def unusable(text: str, summary: str) -> str:
    """Reason why a comment says nothing about its definition, "" where it does.

    Args:
        text: the comment without its marks.
        summary: as `summary_of` gives it.
    """
    if _LICENCE.search(text[:_HEAD]):
        return "a licence or copyright notice"
    if _DIRECTIVE.match(text) and len(summary.split()) < _LEAST_WORDS:
        return "a directive to a tool"
    if _NOTE_TO_SELF.match(text):
        return "a note about work to do"
    lines = _first_paragraph(_TAGGED.sub("", text[:_HEAD]))
    code = sum(map(_is_code, lines))
    if lines and _is_code(lines[0]) and code * 2 >= len(lines) + (_PROSE.search(" ".join(lines)) is not None):
        return "code that is commented out"
    if not re.search(r"\w", summary) or len(summary.split()) < _LEAST_WORDS or _SHOUTED.fullmatch(summary):
        return "no sentence"
    return ""
