"""The Modelfile's template against the Jinja template of each family."""

import json
import re

import jinja2
import pytest
from transformers import GenerationConfig

from homeground.base.errors import HomegroundError
from homeground.policy.chat import prompt_text
from homeground.policy.export.gguf_tokenizer import added_beginning
from homeground.policy.export.ollama import chat_form, write_modelfile

from .. import tiny
from ..templates import FAMILIES
from . import models

FOLDED = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set s = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set s = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m['role'] == 'user' %}[INST] {{ (s if loop.first else '') + m['content'] }}[/INST]"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
TURNS = [
    {"role": "user", "content": "One {{ x }}?"},
    {"role": "assistant", "content": 'Yes, "one".'},
    {"role": "user", "content": "Two?"},
]
SYSTEM = {"role": "system", "content": "Be kind."}
# What of Go's template language is used, in Jinja's words.
_GO = [
    (r'\{\{ "(.*?)" \}\}', lambda m: "{{ " + repr(json.loads(f'"{m[1]}"')) + " }}"),
    (r"\{\{ range \$i, \$_ := \.Messages \}\}", "{% for m in messages %}{% set i = loop.index0 %}"),
    (r"\{\{ \$last := .*?1 \}\}", "{% set last = i == messages | length - 1 %}"),
    (r"\{\{ if not \.System \}\}(.*?)\{\{ end \}\}", r"{% if not system %}\1{% endif %}"),
    (r"\{\{ if and \$\.System \(eq \$i 1\) \}\}(.*?)\{\{ end \}\}", r"{% if system and i == 1 %}\1{% endif %}"),
    (r"\{\{ \$\.System \}\}", "{{ system }}"),
    (r"\{\{ if not \$last \}\}(.*?)\{\{ end \}\}", r"{% if not last %}\1{% endif %}"),
    (r'\{\{ if and \$last \(ne \.Role "assistant"\) \}\}(.*?)\{\{ end \}\}',
     r'{% if last and m.role != "assistant" %}\1{% endif %}'),
    (r'\{\{ if eq \.Role ("\w+") \}\}', r"{% if m.role == \1 %}"),
    (r'\{\{ else if eq \.Role ("\w+") \}\}', r"{% elif m.role == \1 %}"),
    (r"\{\{ \.Content \}\}", "{{ m.content }}"),
]  # fmt: skip


def rendered(go, messages):
    """What Go would make of a template."""
    for pattern, word in _GO:
        go = re.sub(pattern, word, go, flags=re.DOTALL)
    go = re.sub(r"\{\{ end \}\}(?=.*\{\{ end \}\})", "{% endif %}", go, flags=re.DOTALL).replace(
        "{{ end }}", "{% endfor %}"
    )
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    return jinja2.Template(go, keep_trailing_newline=True).render(messages=messages, system=system)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_go_template_gives_what_the_jinja_template_gives(family):
    tokenizer = FAMILIES[family].tokenizer()
    go = chat_form(tokenizer).go()
    chats = [TURNS[:1], TURNS]
    if family not in ("Mistral", "Gemma"):
        chats += [[SYSTEM, *TURNS]]
    for messages in chats:
        assert rendered(go, messages) == prompt_text(tokenizer, messages)


def test_a_system_message_that_goes_into_the_question_is_followed():
    tokenizer = FAMILIES["Mistral"].tokenizer()
    tokenizer.chat_template = FOLDED
    go = chat_form(tokenizer).go()
    for messages in (TURNS, [SYSTEM, *TURNS]):
        assert rendered(go, messages) == prompt_text(tokenizer, messages)


def test_the_mark_of_the_beginning_is_left_to_readers_that_add_it():
    tokenizer = models.gemma()
    assert added_beginning(tokenizer) == "<bos>"
    assert "<bos>" not in chat_form(tokenizer).go()
    assert chat_form(FAMILIES["Gemma"].tokenizer()).go().startswith("<bos>")


def test_a_template_that_does_more_is_refused_where_it_parts():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = tiny.CHATML.replace("{{ m['content'] }}", "{{ m['content'] | upper }}")
    with pytest.raises(HomegroundError, match="does more than put texts around contents") as caught:
        chat_form(tokenizer)
    assert "export 'gguf'" in str(caught.value.hint)


@pytest.mark.parametrize(
    "words",
    [
        "{",
        "{{",
        "{{{",
        "}}",
        "{{ .Content }}",
        "{{ end }}",
        '"""',
        '"' * 4,
        '"' * 5,
        "{%",
        "{# x #}",
        "\\",
        "-",
        "`",
        '{"a": {}}',
    ],
)
def test_braces_and_quotes_of_a_template_are_text(words, tmp_path):
    tokenizer = tiny.tokenizer()
    literal = "{{ " + repr(words) + " }}"
    tokenizer.chat_template = (
        tiny.CHATML.replace("Be brief.", literal)
        .replace("{{ m['content'] }}", literal + "{{ m['content'] }}" + literal)
        .replace("assistant\n{% endif %}", "assistant\n" + literal + "{% endif %}")
    )
    go = chat_form(tokenizer).go()
    for messages in ([SYSTEM, *TURNS], TURNS[:1], TURNS):
        assert rendered(go, messages) == prompt_text(tokenizer, messages)
    # As Go's lexer reads it: an action begins with the first two braces, and ends with the next two outside of texts.
    actions = re.findall(r'\{\{(?:"(?:[^"\\]|\\.)*"|.)*?\}\}', go, re.DOTALL)
    assert all(re.fullmatch(r'\{\{ (?:"(?:[^"\\]|\\.)*"|[^{}"]|"\w+")+ \}\}', action) for action in actions)
    write_modelfile(tmp_path / "Modelfile", "a.gguf", tokenizer, GenerationConfig())
    text = (tmp_path / "Modelfile").read_text()
    assert text.split('"""')[1] == go
    assert text.count('"""') == 2


@pytest.mark.parametrize("date", ["{{ strftime_now('%d %b %Y') }}", "{{ ['a', 'b'] | random }}"])
def test_a_template_that_writes_the_date_is_refused(date):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = tiny.CHATML.replace("Be brief.", f"Today Date: {date}")
    with pytest.raises(HomegroundError, match="changes with each rendering") as caught:
        chat_form(tokenizer)
    assert "export 'gguf'" in caught.value.hint


@pytest.mark.parametrize("mark", ['<|"end"|>', "<\\end>", "<end>\n"])
def test_a_stop_that_cannot_be_written_is_refused(mark, tmp_path):
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"eos_token": mark})
    tokenizer.chat_template = tiny.CHATML.replace("<|im_end|>", "{{ eos_token }}")
    with pytest.raises(HomegroundError, match="no way to write quotes, backslashes and line breaks") as caught:
        write_modelfile(tmp_path / "Modelfile", "a.gguf", tokenizer, GenerationConfig())
    assert "export 'gguf'" in caught.value.hint
    assert not (tmp_path / "Modelfile").exists()


def test_the_modelfile_names_file_template_and_stops(tmp_path):
    tokenizer = FAMILIES["Llama 3"].tokenizer()
    write_modelfile(tmp_path / "Modelfile", "a.gguf", tokenizer, GenerationConfig(eos_token_id=tokenizer.eos_token_id))
    text = (tmp_path / "Modelfile").read_text()
    assert text.startswith('FROM ./a.gguf\nTEMPLATE """')
    assert text.endswith('"""\nPARAMETER stop "<|eot_id|>"\nPARAMETER stop "<|end_of_text|>"\n')
