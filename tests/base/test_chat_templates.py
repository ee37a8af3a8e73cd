"""Chat templates within bounds: the hostile ones end soon and with a sentence, the usual ones write the same bytes."""

import threading
import time

import pytest
from tests.policy import tiny
from tests.policy.templates import FAMILIES
from transformers.utils import chat_template_utils

from homeground.base.chat_templates import bound_chat_templates
from homeground.base.errors import HomegroundError
from homeground.policy.chat import prompt_text

USER = [{"role": "user", "content": "Hi"}]
LONG = [{"role": "user", "content": "word " * 40_000}, {"role": "assistant", "content": "yes " * 40_000}]
TOOLS = [
    {
        "type": "function",
        "function": {"name": f"f{i}", "parameters": {"type": "object", "properties": {"a": {"n": [i]}}}},
    }
    for i in range(20)
]
DOUBLED = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = "
HOSTILE = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}" + "y" * 4000 + "{% endfor %}",
    "{% set x %}{% for i in range(99999) %}" + "y" * 4000 + "{% endfor %}{% endset %}",
    "{% for i in range(99999) %}{{ messages }}{{ messages }}{{ messages }}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999)|list }}{% endfor %}",
    "{% for i in range(99999) %}{% set y = range(99999)|list %}{% endfor %}",
    "{% for i in range(99999) %}{% set y = range(99999)|map('string')|join %}{% endfor %}",
    "{{ range(99999)|map('string')|map('center', 99999)|list }}",
    "{{ range(99999)|map('string')|map('center', 99999)|join }}",
    "{{ 'a' * 10**10 }}",
    "{{ 10**10 * 'a' }}",
    "{{ [1] * 10**10 }}",
    "{{ ['abcdefghij' * 100000] * 100000 }}",
    "{{ 9**99999 }}",
    "{{ (9**900) ** 900 }}",
    "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{{ 'a'|center(10**10) }}",
    "{{ 'a'.center(10**10) }}",
    "{{ 'a'.ljust(10**10) }}{{ 'a'.rjust(10**10) }}{{ 'a'.zfill(10**10) }}",
    "{{ 'a\tb'.expandtabs(10**10) }}",
    "{{ ('a\n' * 1000)|indent(10**9) }}",
    "{{ ('a\n' * 10000)|indent('b' * 100000) }}",
    "{{ {'a': 1}|tojson(indent=10**10) }}",
    "{{ 1.5|round(10**9, 'ceil') }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ '%*d' % (10**10, 1) }}",
    "{{ '%10000000000d'|format(1) }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ '{:>{w}}'.format(1, w=10**10) }}",
    "{{ '{a:>10000000000}'.format_map({'a': 1}) }}",
    "{{ ('{0}' * 100000).format('a' * 1000000) }}",
    "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000)|replace('', 'b' * 100000) }}",
    "{{ ('b' * 100000).join('a' * 100000) }}",
    "{{ ('a' * 100000)|join('b' * 100000) }}",
    "{{ range(99999)|join('b' * 100000) }}",
    "{{ ('a' * 100000).translate({97: 'b' * 100000}) }}",
    "{{ ('a' * 100000)|wordwrap(1, wrapstring='b' * 100000) }}",
    "{{ (1).to_bytes(10**10, 'big') }}",
    "{{ lipsum(n=10**9) }}",
    "{{ [1, 2]|slice(10**9)|list }}",
    "{{ [1]|batch(10**9, 'a')|list }}",
    "{{ [1]|batch(99999, 'a' * 99999)|list }}",
    "{{ [range(9999)|list]|map('list')|sum(start=[]) }}",
    DOUBLED + "ns.x ~ ns.x %}{% endfor %}",
    DOUBLED + "ns.x + ns.x %}{% endfor %}",
    DOUBLED + "ns.x * 2 %}{% endfor %}",
    DOUBLED + "ns.x|replace('a', 'aaa') %}{% endfor %}",
    DOUBLED + "'%s%s' % (ns.x, ns.x) %}{% endfor %}",
    DOUBLED + "'{0}{0}'.format(ns.x) %}{% endfor %}",
    DOUBLED + "[ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    DOUBLED + "(ns.x, ns.x) %}{% endfor %}{{ ns.x|string }}",
    DOUBLED + "{'a': ns.x, 'b': ns.x} %}{% endfor %}{{ ns.x|tojson }}",
    DOUBLED + "dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x }}",
    DOUBLED + "dict(a=ns.x, b=ns.x) %}{% endfor %}{{ ns.x|tojson }}",
    "{% set ns = namespace(x=['ab']) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 60,
    "{% set x = 'ab' %}" + "{% set x = [x, x] %}" * 60 + "{{ x }}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "{% for i in range(99999) %}{% block b scoped %}{% for j in range(99999) %}{% endfor %}{% endblock %}{% endfor %}",
    "{% for i in range(99999) %}{% filter upper %}" + "y" * 4000 + "{% endfilter %}{% endfor %}",
    "{% for i in range(99999) %}{% generation %}{% for j in range(99999) %}{% endfor %}{% endgeneration %}{% endfor %}",
    "{% for a in messages %}" * 18 + "{% endfor %}" * 18,
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "not " * 30000 + "1 }}",
    "x" * 600_000,
]


def rendered(template, messages, tools=(), **more):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return prompt_text(tokenizer, messages, tools=tools, **more)


@pytest.mark.parametrize("template", HOSTILE, ids=range(len(HOSTILE)))
def test_a_template_that_would_never_end_or_fill_the_memory_is_refused(template):
    began = time.thread_time()
    with pytest.raises(HomegroundError, match="chat template refuses"):
        rendered(template, USER * 4)
    assert time.thread_time() - began < 15


def test_it_is_refused_in_a_thread_while_another_renders():
    errors, texts = [], []

    def hostile():
        try:
            rendered(HOSTILE[0], USER)
        except HomegroundError as error:
            errors.append(error)

    threads = [threading.Thread(target=hostile) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        texts.append(rendered(tiny.CHATML, USER))
    assert len(errors) == 2
    assert len(set(texts)) == 1


def test_a_long_computation_says_so():
    # Comparisons are not counted, so the clock ends them.
    slow = "{% set x = 'a' * 9000000 %}{% set y = 'a' * 8999999 + 'b' %}{% for i in range(99999) %}"
    slow += "{% if " + " or ".join(["x == y"] * 99) + " %}{% endif %}{% endfor %}"
    with pytest.raises(HomegroundError, match=r"computes for more than 2 s|more text or steps"):
        rendered(slow, USER)


USUAL = {
    "loops": "{% for m in messages[::-1] if m.role != 'x' %}{{ loop.index0 }}{{ loop.length }}{{ loop.last }}"
    "{{ loop.previtem.content if loop.previtem }}{{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}",
    "sets": "{% set ns = namespace(a=[], b='') %}{% for m in messages %}{% set ns.a = ns.a + [m, [m.role]] %}"
    "{% set ns.b = ns.b ~ m.role ~ 1 ~ none %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.a | length }}{{ ns.a | tojson }}",
    "macros": "{% macro show(m, n=3) -%} {{ m | trim }}{{ n }}{{ caller() if caller }}{% if n %}{{ show(m, n - 1) }}"
    "{% endif %}{%- endmacro %}{% for m in messages %}{% call show(m.role) %}!{% endcall %}{% endfor %}",
    "filters": "{{ messages | map(attribute='role') | join(', ') }}{{ messages | selectattr('role', 'equalto', 'user') "
    "| list | length }}{{ tools | tojson(indent=2) }}{{ messages | groupby('role') | length }}"
    "{{ 'a\nb' | indent(4, true) }}"
    "{{ {'b': 1, 'a': 2} | dictsort }}{{ [3, 1] | sort | first }}{{ 'x' | default('y') }}{{ 3.14159 | round(2) }}"
    "{{ [1, 2, 3] | sum }}{{ 'a b' | title | replace('A', 'c') | upper }}{{ '%s-%s' | format(1, 'b') }}"
    "{{ 5 | string }}"
    "{{ [1, 2, 3] | batch(2) | list }}{{ {'a': [1]} | items | list }}{{ '3' | int + 4 }}"
    "{{ [[1], [2]] | map('first') | list }}",
    "methods": "{{ ' a '.strip() }}{{ 'a,b'.split(',')[-1] }}{{ '-'.join(['a', 'b']) }}{{ 'a'.upper() }}"
    "{{ '{} {x}'.format(1, x='y') }}{{ messages[0].get('none', 'z') }}{{ messages[0].items() | list }}{{ 'abc'[::-1] }}"
    "{{ 'abc'.replace('b', 'bb').startswith('ab') }}{{ dict(a=1, b=[2]) }}{{ 'a'.center(9) }}{{ 'abc'[1:] }}",
    "operators": "{{ 2 ** 5 }}{{ 7 // 2 }}{{ 7 % 2 }}{{ '%d' % 5 }}{{ 'a' * 3 }}{{ [1] * 2 + [2] }}{{ 1.5 * 2 }}"
    "{{ 1 + 2 }}"
    "{{ (1, 'a') + (2,) }}{{ 'a' in 'abc' }}{{ messages[0].role in ('user', 'system') }}{{ not x }}{{ x is defined }}",
    "blocks": "{% set t %}a{{ bos_token }}{% endset %}{{ t }}{% filter upper %}x{{ t }}{% endfilter %}"
    "{% generation %}{{ messages[0].content }}{% endgeneration %}{% for m in messages %}{% if loop.first %}"
    "{% continue %}"
    "{% endif %}{{ m.role }}{% break %}{% endfor %}\n{%- if true %} \n x \n{% endif -%} y",
    "tool schema": "{%- macro show(s) -%}{%- if s.properties is mapping -%}{ {%- for k, v in s.properties.items() -%}"
    "{{ k }}: {{ show(v) }}{{ ', ' if not loop.last }}{%- endfor -%} }{%- else -%}{{ s | string }}{%- endif -%}"
    "{%- endmacro -%}{%- for t in tools or [] -%}{{ show(t.function.parameters) }}{%- endfor -%}",
}
USUAL |= {name: family.tokenizer().chat_template for name, family in FAMILIES.items()}


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
@pytest.mark.parametrize("messages", [USER, USER * 3, LONG], ids=["one", "three", "long"])
def test_what_a_template_writes_is_the_same_to_the_byte(name, tools, messages):
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    given = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": True, **names}
    plain = chat_template_utils._cached_compile_jinja_template(USUAL[name])
    bound_chat_templates()
    bounded = chat_template_utils._compile_jinja_template(USUAL[name])
    assert type(bounded.environment) is not type(plain.environment)
    try:
        expected = plain.render(**given)
    except Exception as error:
        with pytest.raises(type(error), match=r".*"):
            bounded.render(**given)
    else:
        assert bounded.render(**given) == expected


def test_a_conversation_of_millions_of_letters_is_rendered():
    messages = [{"role": role, "content": "words " * 200_000} for role in ("user", "assistant")] * 3
    text = rendered(USUAL["Qwen 3"], messages)
    assert len(text) > 7_000_000
