"""An Ollama ``Modelfile``: the GGUF file, the conversation's form as a Go template, and where answers stop.

Ollama does not read the Jinja template inside a GGUF file; it wants one in Go's language. The two cannot be translated
in general, so the form is *read off* the Jinja template by rendering conversations with marked contents: what stands
before and behind a message of each role, what opens the assistant's turn, which system message is put in when there is
none. The form is then written out by hand for other conversations, and must give, letter for letter, what the Jinja
template gives; else there is no Modelfile, and the error says where they part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_text
from homeground.policy.chat import Message, marks, prompt_text, token_text
from homeground.policy.export.folders import end_tokens
from homeground.policy.export.gguf_tokenizer import added_beginning

_SYSTEM, _USER, _ASSISTANT = "Qsystemq", "Quserq", "Qassistantq"
_CHANGING = re.compile(r"\bstrftime_now\b|\|\s*random\b")
_INSTEAD = "export 'gguf' and use it with llama.cpp, which reads the model's own template"
_ROLES = {"system": _SYSTEM, "user": _USER, "assistant": _ASSISTANT}


@dataclass(frozen=True)
class ChatForm:
    """A chat template as texts around contents.

    Attributes:
        before, after: of each role's messages; a role that the template refuses is missing.
        opening: what follows the last message so that the assistant writes.
        default: what stands first in a conversation without a system message.
        begin: stands first in every conversation: the beginning's mark, where the reader does not add it itself.
        folded: where a system message goes into the first question: what stands between the two.
    """

    before: dict[str, str]
    after: dict[str, str]
    opening: str
    default: str = ""
    begin: str = ""
    folded: str | None = None

    def text(self, messages: Sequence[Message]) -> str:
        """A prompt in this form."""
        turns = [dict(message) for message in messages]
        has_system = turns[0]["role"] == "system"
        if has_system and self.folded is not None:
            turns = turns[1:]
            turns[0]["content"] = f"{messages[0]['content']}{self.folded}{turns[0]['content']}"
        written = [f"{self.before[m['role']]}{m['content']}{self.after[m['role']]}" for m in turns]
        return self.begin + ("" if has_system else self.default) + "".join(written) + self.opening

    def go(self) -> str:
        """The same as a Go template of Ollama's: ``.Messages`` holds the system message too, if there is one."""
        default = f"{{{{ if not .System }}}}{_go(self.default)}{{{{ end }}}}" if self.default else ""
        roles = [role for role in _ROLES if role in self.before]
        branches = [
            f'{{{{ {"else " if place else ""}if eq .Role "{role}" }}}}{self._turn(role)}'
            for place, role in enumerate(roles)
        ]
        loop = "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        opening = (
            f'{{{{ if and $last (ne .Role "assistant") }}}}{_go(self.opening)}{{{{ end }}}}' if self.opening else ""
        )
        return f"{_go(self.begin)}{default}{loop}{''.join(branches)}{{{{ end }}}}{opening}{{{{ end }}}}"

    def _turn(self, role: str) -> str:
        after = _go(self.after[role])
        system = ""
        if role == "assistant":
            # An unfinished answer is gone on with.
            after = f"{{{{ if not $last }}}}{after}{{{{ end }}}}"
        if role == "user" and self.folded is not None:
            system = f"{{{{ if and $.System (eq $i 1) }}}}{{{{ $.System }}}}{_go(self.folded)}{{{{ end }}}}"
        return f"{_go(self.before[role])}{system}{{{{ .Content }}}}{after}"


def chat_form(tokenizer: PreTrainedTokenizerBase) -> ChatForm:
    """Derive the form of a tokenizer's chat template.

    Raises:
        HomegroundError: it has no template, or one that writes a date or does more than enclose contents in texts.
    """
    if (found := _CHANGING.search(tokenizer.get_chat_template() if tokenizer.chat_template else "")) is not None:
        raise HomegroundError(
            f"this chat template writes what changes with each rendering ({found[0]}), such as today's date, which a "
            "Modelfile would keep as it is today",
            where=str(tokenizer.name_or_path),
            hint=_INSTEAD,
        )
    form = _read(tokenizer)
    for messages in _samples(with_system="system" in form.before or form.folded is not None):
        expected, ours = prompt_text(tokenizer, messages), form.text(messages)
        if expected != ours:
            raise _other(tokenizer, expected, ours)
    return replace(form, begin="") if added_beginning(tokenizer) else form


def _read(tokenizer: PreTrainedTokenizerBase) -> ChatForm:
    user, assistant = _message("user"), _message("assistant")
    opened, bare = prompt_text(tokenizer, [user]), prompt_text(tokenizer, [user], open_turn=False)
    opening = _behind_common(tokenizer, opened, bare)
    head, _, rest = prompt_text(tokenizer, [user, assistant, user]).partition(_USER)
    between, _, rest = rest.partition(_ASSISTANT)
    next_user, _, tail = rest.partition(_USER)
    # What ends an answer and what opens the next question stand together; an answer that stands last parts them.
    ended = prompt_text(tokenizer, [user, assistant], open_turn=False).partition(_ASSISTANT)[2]
    before_user = _behind_common(tokenizer, next_user, ended)
    mark: Any = tokenizer.bos_token_id
    bos = token_text(tokenizer, mark) if mark is not None else ""
    begin = bos if bos and head.startswith(bos) and opened.count(bos) == 1 else ""
    after_user = tail.removesuffix(opening)
    before = {"user": before_user, "assistant": between.removeprefix(after_user)}
    after = {"user": after_user, "assistant": next_user.removesuffix(before_user)}
    folded = None
    if system := _around_system(tokenizer):
        first, second = system[0].removeprefix(begin), system[1]
        if first == before_user and not second.endswith(before_user):
            folded = second
        else:
            before["system"], after["system"] = first, second.removesuffix(before_user)
    return ChatForm(before, after, opening, head.removeprefix(begin).removesuffix(before_user), begin, folded)


def write_modelfile(path: Path, gguf: str, tokenizer: PreTrainedTokenizerBase, config: GenerationConfig) -> None:
    """Write a Modelfile beside a GGUF file.

    Args:
        gguf: the file's name, in the same folder.
        config: names the end tokens.

    Raises:
        HomegroundError: the chat template has another kind of form, or an answer ends in what cannot be written.
    """
    form = chat_form(tokenizer)
    texts = [token_text(tokenizer, token) for token in end_tokens(tokenizer, config)]
    if odd := [text for text in texts if not text.isprintable() or '"' in text or "\\" in text]:
        raise HomegroundError(
            f"answers stop at {odd[0]!r}, and a Modelfile has no way to write quotes, backslashes and line breaks",
            where=str(tokenizer.name_or_path),
            hint=_INSTEAD,
        )
    stops = [f'PARAMETER stop "{text}"' for text in texts]
    lines = [f"FROM ./{gguf}", f'TEMPLATE """{form.go()}"""', *stops]
    atomic_write_text(path, "\n".join(lines) + "\n")


def _message(role: str) -> Message:
    return {"role": role, "content": _ROLES[role]}


def _around_system(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str] | None:
    """What stands before a system message, and between it and the question; None where the template refuses one."""
    try:
        text = prompt_text(tokenizer, [_message("system"), _message("user")])
    except HomegroundError:
        return None
    before, found, rest = text.partition(_SYSTEM)
    between, user, _ = rest.partition(_USER)
    return (before, between) if found and user else None


def _samples(*, with_system: bool) -> list[list[Message]]:
    def chat(*turns: tuple[str, str]) -> list[Message]:
        return [{"role": role, "content": content} for role, content in turns]

    question = 'Two\nlines: {{ .Content }} "quoted"?'
    plain = [("user", "Hi, who are you?"), ("assistant", "A model."), ("user", question)]
    longer = [*plain, ("assistant", "Yes.\n\n```py\nx = 1\n```"), ("user", "Über 9000%?")]
    chats = [chat(plain[0]), chat(*plain), chat(*longer)]
    if with_system:
        chats += [chat(("system", "Be brief."), *turns) for turns in (plain[:1], plain, longer)]
    return chats


def _behind_common(tokenizer: PreTrainedTokenizerBase, text: str, other: str) -> str:
    """What is left of a text behind the beginning that it shares with another; marks are never cut in two.

    Example: "<|end|> <|user|>" and "<|end|> <|eos|>" share "<|end|> ", so "<|user|>" is left.
    """
    known = sorted((token_text(tokenizer, token) for token in marks(tokenizer)), key=len, reverse=True)
    pieces = re.compile("|".join([*map(re.escape, known), "."]), re.DOTALL)
    ours, theirs = pieces.findall(text), pieces.findall(other)
    shared = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    return "".join(ours[min(len(ours), len(theirs)) if shared is None else shared :])


def _go(text: str) -> str:
    """Escape a text for a Go template in a Modelfile, so that its braces and quotes are literal.

    A single brace is quoted too: before the braces of an action it would open another one.
    """
    return re.sub(r'\{+|"{3,}', lambda found: f"{{{{ {json.dumps(found[0])} }}}}", text)


def _other(tokenizer: PreTrainedTokenizerBase, expected: str, ours: str) -> HomegroundError:
    place = next(
        (i for i, (a, b) in enumerate(zip(expected, ours, strict=False)) if a != b), min(len(expected), len(ours))
    )
    return HomegroundError(
        "this chat template does more than put texts around contents, which an Ollama template cannot follow: "
        f"it gives {expected[place : place + 40]!r} where texts give {ours[place : place + 40]!r}",
        where=str(tokenizer.name_or_path),
        hint=_INSTEAD,
    )
