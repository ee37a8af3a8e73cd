import json

import pytest

from homeground.base.errors import HomegroundError
from homeground.base.progress import Progress
from homeground.data import DataConfig
from homeground.pipeline.sft_data import sft_data
from homeground.recipe import Recipe
from homeground.tasks import LookupTask, Split

from ..policy import tiny
from ..policy.tiny import CHATML
from .test_documents import check

QUIET = Progress(quiet=True)
TOKEN = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0" * 2


def row(question, answer="It does so by reading every line once."):
    return {"prompt": question, "completion": answer}


@pytest.fixture
def write(tmp_path):
    def file(name, rows):
        path = tmp_path / name
        path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))
        return str(path)

    return file


def made(sources, *, seed=0, tasks=(), tokenizer=None, strict=False, **settings):
    section = DataConfig.model_validate({"sources": [{"source": s} if isinstance(s, str) else s for s in sources]}
                                         | settings)  # fmt: skip
    return sft_data(Recipe(data=section, seed=seed), QUIET, tasks=tasks, tokenizer=tokenizer, strict=strict)


def asked(examples):
    return {example.question() for example in examples}


def numbered(count):
    return [row(f"What is number {n}?", f"It is {n}.") for n in range(count)]


def test_every_removal_is_counted_and_listed_with_its_place(write):
    words = " ".join(f"w{n}" for n in range(60))
    one = write("one.jsonl", [row("a?"), row("A?"), {"x": 1}, row("b?", f"use {TOKEN}"), row(words)])
    two = write("two.jsonl", [row("a?"), row(f"{words} more"), row("held?"), row("c?")])
    found = made([one, two], decontaminate=[write("eval.jsonl", [row("held?", "no")])])
    assert asked(found.train) == {"a?", "b?", words, "c?"}
    assert [(d.place, d.of) for d in found.exact_duplicates] == [(f"{one}:2", f"{one}:1"), (f"{two}:1", f"{one}:1")]
    assert [(d.place, d.of) for d in found.near_duplicates] == [(f"{two}:2", f"{one}:5")]
    assert [(c.place, c.overlap) for c in found.contaminated] == [(f"{two}:3", "same question")]
    assert [r.place for r in found.rejected] == [f"{one}:3"]
    assert [(s.place, s.kind) for s in found.secrets] == [(f"{one}:4", "GitHub Token")]
    assert [(a.rows, a.duplicates, a.contaminated, a.taken) for a in found.sources] == [(5, 1, 0, 3), (4, 2, 1, 1)]
    assert sum(a.share for a in found.sources) == sum(a.text_share for a in found.sources) == 1
    document = json.loads(json.dumps(found.document()))
    check("data", document)
    assert TOKEN not in json.dumps(document)
    assert "2 repeated, 1 nearly repeated" in found.describe()


def test_a_row_is_on_the_same_side_whatever_the_seed_and_whatever_is_added(write):
    small, large = write("s.jsonl", numbered(60)), write("l.jsonl", numbered(120))
    held = asked(made([small], heldout={"share": 0.3}).heldout)
    assert 6 <= len(held) <= 30
    assert asked(made([small], heldout={"share": 0.3}, seed=5).heldout) == held
    more = made([large], heldout={"share": 0.3})
    assert asked(more.heldout) & asked(made([small]).train) == held
    assert not asked(more.heldout) & asked(more.train)
    assert held <= asked(made([small], heldout={"share": 0.5}).heldout)


def test_held_out_rows_and_tasks_are_not_given_away_by_training_rows(write):
    told = "the parser reads one byte after the other until a newline or the end of its input comes"
    rows = [*numbered(5), row("How?", f"Well, {told}.")]
    held = write("held.jsonl", [row("Say it.", told)])
    found = made([write("rows.jsonl", rows)], heldout={"source": held})
    assert asked(found.heldout) == {"Say it."}
    assert [one.of for one in found.contaminated] == [f"{held}:1"]
    task = LookupTask("1", "What is number 3?", "a.py::f", "a.py", "f", Split.HELDOUT)
    found = made([write("rows.jsonl", rows)], tasks=[task])
    assert [one.of for one in found.contaminated] == ["task a.py::f"]


def test_exact_shares_are_reported_as_they_came_out(write):
    one, two = write("one.jsonl", numbered(40)), write("two.jsonl", [row(f"b{n}?") for n in range(10)])
    settings = {"mixing": "weights", "duplicates": {"near": None}}
    found = made([{"source": one, "weight": 1.0}, {"source": two, "weight": 3.0, "epochs": 3.0}], **settings)
    assert [a.taken for a in found.sources] == [10, 30]
    assert [round(a.share, 3) for a in found.sources] == [0.25, 0.75]
    assert found.train == made([{"source": one}, {"source": two, "weight": 3.0, "epochs": 3.0}], **settings).train


def test_the_same_file_name_in_two_folders_is_two_sources(write, tmp_path):
    (tmp_path / "x").mkdir()
    found = made([write("a.jsonl", numbered(3)), write("x/a.jsonl", [row("z?"), *numbered(2)])])
    assert [(a.taken, a.duplicates) for a in found.sources] == [(3, 0), (1, 2)]


@pytest.mark.parametrize(("rows", "settings", "words"), [
    ([], {}, "it holds no rows"),
    ([{"question": "x", "reply": "y"}], {}, "no known format: its fields are question, reply"),
    ([row("a?")], {"decontaminate": ["nowhere.jsonl"]}, "there is no such file"),
    ([row("a?")], {"heldout": {"source": "nowhere.jsonl"}}, "there is no such file"),
    ([row("a?")], {"heldout": {"share": 0.999999}}, "nothing is left to train on: 0 examples to train on, 1 held out"),
    ([row("a?")], {"mixing": "weights", "rows": 3}, "the mixture of 3 rows needs 3 of this source, which has 1"),
])  # fmt: skip
def test_what_cannot_be_trained_says_why(write, rows, settings, words):
    with pytest.raises(HomegroundError) as caught:
        made([write("rows.jsonl", rows)], **settings)
    assert words in str(caught.value)


def test_rows_that_the_chat_template_refuses_are_rejected_before_the_mixture_is_made(write):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    )
    file = write("c.jsonl", [{**row(f"What is number {n}?"), "system": "s" if n < 3 else None} for n in range(5)])
    found = made([file], tokenizer=tokenizer)
    assert [one.place for one in found.rejected] == [f"{file}:{n}" for n in (1, 2, 3)]
    assert "no system" in found.rejected[0].reason
    (account,) = found.sources
    assert (account.rows, account.rejected, account.taken) == (5, 3, 2)
    check("data", json.loads(json.dumps(found.document())))
    with pytest.raises(HomegroundError, match="no system") as caught:
        made([file], tokenizer=tokenizer, strict=True)
    assert caught.value.where == f"{file}:1"
    with pytest.raises(HomegroundError, match=r"nothing is left to train on.*c\.jsonl:1: the chat template refuses"):
        made([{"source": file, "read_rows": 3}], tokenizer=tokenizer)


def test_held_out_rows_that_the_template_refuses_are_rejected_too(write):
    thinking = {**row("What is a number?"), "thinking": "hm"}
    train, held = write("t.jsonl", numbered(3)), write("h.jsonl", [thinking, row("What is held out?")])
    found = made([train], tokenizer=tiny.tokenizer(), heldout={"source": held})
    assert asked(found.heldout) == {"What is held out?"}
    assert [one.place for one in found.rejected] == [f"{held}:1"]
    with pytest.raises(HomegroundError, match="none of its rows can be measured") as caught:
        made([train], tokenizer=tiny.tokenizer(), heldout={"source": write("n.jsonl", [thinking])})
    assert caught.value.where.endswith("n.jsonl")
