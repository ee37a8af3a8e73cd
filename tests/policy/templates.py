"""Chat templates of model families, written from the formats that their makers document, with a tokenizer for each."""

from dataclasses import dataclass

from . import tiny

LLAMA_3 = (
    "{{ bos_token }}"
    "{% for m in messages %}"
    "<|start_header_id|>{{ 'ipython' if m['role'] == 'tool' else m['role'] }}<|end_header_id|>\n\n"
    "{% if m.get('tool_calls') %}{% set call = m['tool_calls'][0]['function'] %}"
    '{"name": "{{ call[\'name\'] }}", "parameters": {{ call[\'arguments\'] | tojson }}}'
    "{% else %}{{ m['content'] | trim }}{% endif %}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_HERMES_TOOLS = (
    "{% if tools %}<|im_start|>system\n# Tools\n<tools>{% for t in tools %}\n{{ t | tojson }}{% endfor %}\n</tools>"
    "<|im_end|>\n{% endif %}"
)
_HERMES_CALLS = (
    "{% for call in m.get('tool_calls') or [] %}{% if m['content'] or not loop.first %}\n{% endif %}"
    "{% set f = call['function'] %}"
    '<tool_call>\n{"name": "{{ f[\'name\'] }}", "arguments": {{ f[\'arguments\'] | tojson }}}'
    "\n</tool_call>{% endfor %}"
)
QWEN_2_5 = (
    _HERMES_TOOLS + "{% for m in messages %}"
    "{% if m['role'] == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m['content'] }}\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}" + _HERMES_CALLS + "<|im_end|>\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_3 = QWEN_2_5.replace(
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}",
    "<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}",
)
_LAST_ASKED = (
    "{% set ns = namespace(asked=0) %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}"
)
_THOUGHTS_APART = (
    "{% set said = m['content'] %}{% set thoughts = '' %}"
    "{% if m['reasoning_content'] is string %}{% set thoughts = m['reasoning_content'] %}"
    "{% elif '</think>' in said %}{% set thoughts = said.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
)
QWEN_3_THOUGHTS = (
    _LAST_ASKED + "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}"
    + _THOUGHTS_APART
    + "{% if loop.index0 > ns.asked and (loop.last or thoughts) %}"
    "<think>\n{{ thoughts.strip('\n') }}\n</think>\n\n{{ said.lstrip('\n') }}{% else %}{{ said }}{% endif %}"
    "{% else %}{{ m['content'] }}{% endif %}" + _HERMES_CALLS + "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_3_ALWAYS = QWEN_3_THOUGHTS.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
GPT_OSS = (
    "{% for m in messages %}{% if m['role'] != 'assistant' %}"
    "<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>"
    "{% elif loop.last and not add_generation_prompt %}{% if 'thinking' in m %}"
    "<|start|>assistant<|channel|>analysis<|message|>{{ m['thinking'] }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m['content'] }}<|return|>"
    "{% else %}<|start|>assistant<|channel|>final<|message|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
GLM = (
    _LAST_ASKED + "[gMASK]<sop>{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}<|assistant|>" + _THOUGHTS_APART + "{% if loop.index0 > ns.asked and thoughts %}"
    "{{ '\n<think>' + thoughts.strip() + '</think>' }}{% else %}{{ '\n<think></think>' }}{% endif %}"
    "{{ '\n' + said.strip() }}"
    "{% else %}<|{{ m['role'] }}|>\n{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
DEEPSEEK_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}<|User|>{{ m['content'] }}"
    "{% elif m['role'] == 'assistant' %}<|Assistant|>{{ m['content'].split('</think>')[-1] }}{{ eos_token }}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
DEEPSEEK_R1_FIRST = DEEPSEEK_R1.replace("<|Assistant|><think>\n{% endif %}", "<|Assistant|>{% endif %}")
DEEPSEEK_CLOSED = DEEPSEEK_R1.replace("<think>\n{% endif %}", "</think>{% endif %}").replace(
    "<|Assistant|>{{ m", "<|Assistant|></think>{{ m"
)
EMPTY_THOUGHTS = QWEN_2_5.replace(
    "<|im_start|>{{ m['role'] }}\n",
    "<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}<think></think>{% endif %}",
)
MISTRAL = (
    "{{ bos_token }}"
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }}[/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] | trim }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant take turns here') }}{% endif %}"
    "{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% for m in messages %}"
    "{% if m['role'] not in ('user', 'assistant') %}{{ raise_exception('no such role: ' + m['role']) }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI_3 = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A template, its special tokens, and what the assistant of a two-turn conversation writes."""

    template: str
    marks: tuple[str, ...]
    end: str
    bos: str | None = None
    eos: str | None = None
    before: str = ""
    calls: bool = False

    def tokenizer(self):
        made = tiny.tokenizer()
        made.add_special_tokens({"additional_special_tokens": list(self.marks)})
        made.chat_template = self.template
        made.bos_token = self.bos or made.bos_token
        made.eos_token = self.eos or made.eos_token
        return made


FAMILIES = {
    "Llama 3": Family(LLAMA_3, ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                                "<|eot_id|>"), "<|eot_id|>", "<|begin_of_text|>", "<|end_of_text|>", calls=True),
    "Qwen 2.5": Family(QWEN_2_5, ("<|endoftext|>",), "<|im_end|>", eos="<|endoftext|>", calls=True),
    "Qwen 3": Family(QWEN_3, ("<|endoftext|>",), "<|im_end|>", before="<think>\n\n</think>\n\n", calls=True),
    "Mistral": Family(MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), "</s>", "<s>", "</s>", before=" "),
    "Gemma": Family(GEMMA, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<end_of_turn>", "<bos>", "<eos>"),
    "Phi 3": Family(PHI_3, ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<|system|>"), "<|end|>",
                    eos="<|endoftext|>"),
    "Qwen 3 with thoughts": Family(QWEN_3_THOUGHTS, ("<|endoftext|>",), "<|im_end|>", before="<think>\n\n</think>\n\n",
                                   calls=True),
    "SmolLM": Family(tiny.CHATML, (), "<|im_end|>"),
}  # fmt: skip

_DEEPSEEK = ("<bos>", "<eos>", "<|User|>", "<|Assistant|>")
_CALLS_TURN = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>")
THINKING = {
    "Qwen 3": (Family(QWEN_3_THOUGHTS, (), "<|im_end|>"), "<think>\nhmm\n</think>\n\nyes"),
    "Qwen 3 that always thinks": (Family(QWEN_3_ALWAYS, (), "<|im_end|>"), "hmm\n</think>\n\nyes"),
    "GPT-OSS": (Family(GPT_OSS, _CALLS_TURN, "<|return|>", eos="<|return|>"),
                "<|channel|>analysis<|message|>hmm<|end|><|start|>assistant<|channel|>final<|message|>yes"),
    "GLM": (Family(GLM, ("<|assistant|>", "<|user|>", "<|endoftext|>"), "<|endoftext|>", eos="<|endoftext|>"),
            "\n<think>hmm</think>\nyes"),
    "DeepSeek R1": (Family(DEEPSEEK_R1, _DEEPSEEK, "<eos>", "<bos>", "<eos>"), "hmm\n</think>\n\nyes"),
    "DeepSeek R1 at first": (Family(DEEPSEEK_R1_FIRST, _DEEPSEEK, "<eos>", "<bos>", "<eos>"),
                             "<think>\nhmm\n</think>\n\nyes"),
}  # fmt: skip
"""Families whose template knows thoughts, and what an answer "yes" behind the thought "hmm" is."""
