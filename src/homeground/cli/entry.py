"""What a person types into `homeground chat`: message by message, of one or several lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output

GOES_ON = "\\"
"""At the end of a line: the message goes on in the next."""


def piped(lines: Iterable[str]) -> Iterator[str]:
    """Messages of a file or a pipe, one a line, without blank ones."""
    held = ""
    for line in lines:
        text = line.removeprefix("\ufeff").rstrip("\r\n")
        if text.endswith(GOES_ON):
            held += text.removesuffix(GOES_ON) + "\n"
            continue
        if (held + text).strip():
            yield held + text
        held = ""
    if held.strip():
        yield held.rstrip("\n")


def typed(history: Path, commands: Iterable[str]) -> Iterator[str]:
    """Messages that are typed at a terminal, until Ctrl-D; Ctrl-C clears the line.

    Enter sends. Alt-Enter begins another line, and so does Enter behind a backslash. What is pasted may have any lines.

    Args:
        history: file of what was typed before; arrow up brings it back.
        commands: that Tab completes.
    """
    session = prompt_session(history, commands)
    while True:
        try:
            text = session.prompt("> ", prompt_continuation="  ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.strip():
            yield text


def prompt_session(
    history: Path, commands: Iterable[str], *, source: Input | None = None, screen: Output | None = None
) -> PromptSession[str]:
    """The prompt.

    Args:
        history, commands: see :func:`typed`.
        source, screen: instead of the terminal.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith(GOES_ON):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(
        history=FileHistory(str(history)),
        multiline=True,
        key_bindings=keys,
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
        input=source,
        output=screen,
    )
