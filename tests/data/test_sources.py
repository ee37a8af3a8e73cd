import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeground.base.errors import HomegroundError
from homeground.base.files import atomic_write_jsonl
from homeground.data import read_examples
from homeground.training import Format

GOOD = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
ALPACA = {"instruction": "a", "output": "b"}


def test_json_lines_name_the_line_of_each_row_that_does_not_fit(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(f"\n{json.dumps(GOOD)}\r\n{{\n[]\n{json.dumps({'x': 1})}\n{json.dumps(ALPACA)}".encode())
    reading = read_examples(str(path))
    assert reading.formats == {Format.MESSAGES: 1, Format.ALPACA: 1}
    assert [r.place for r in reading.rejected] == [f"{path}:{n}" for n in (3, 4, 5)]
    assert "no JSON" in reading.rejected[0].reason
    assert "3 of 5 rows rejected (60.0%)" in reading.describe()


def test_strict_makes_the_first_misfit_an_error(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{{}}\n")
    with pytest.raises(HomegroundError, match="no known format") as caught:
        read_examples(str(path), strict=True)
    assert caught.value.where == f"{path}:2"


def test_a_line_ends_where_the_file_says(tmp_path):
    told = {"messages": [{"role": "user", "content": "a\u2028b\u2029c\x85d\x0ce"}, GOOD["messages"][1]]}
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    assert read_examples(str(path)).examples[0].messages == told["messages"]


@pytest.mark.parametrize("document", [[ALPACA, ALPACA], {"data": [ALPACA, ALPACA]}])
def test_a_json_document_is_a_list_of_rows_or_holds_one(tmp_path, document):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(document))
    assert len(read_examples(str(path)).examples) == 2


@pytest.mark.parametrize(("kind", "place"), [("parquet", 2), ("csv", 3)])
def test_tables_are_read_row_by_row(tmp_path, kind, place, monkeypatch):
    from datasets import Dataset

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / f"c.{kind}"
    table = Dataset.from_list([{**ALPACA, "input": None}, {"instruction": "c", "output": None, "input": "x"}])
    getattr(table, f"to_{kind}")(str(path))
    reading = read_examples(str(path))
    assert [e.messages[0]["content"] for e in reading.examples] == ["a"]
    assert reading.rejected[0].place == f"{path}:{place}"


def calling(arguments, schema):
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    turns = [GOOD["messages"][0], {"role": "assistant", "content": None, "tool_calls": [call]}]
    return {"messages": turns, "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}


CALLS = [calling({"limit": None, "at": [1, None]}, {"default": None, "enum": [None, 1]}),
         calling({"text": "x"}, {"type": "object"})]  # fmt: skip


def arguments_and_parameters(example):
    return example.messages[1]["tool_calls"][0]["function"]["arguments"], example.tools[0]["function"]["parameters"]


def test_a_null_of_json_lines_is_data(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(map(json.dumps, CALLS)))
    one, two = map(arguments_and_parameters, read_examples(str(path)).examples)
    assert one == ({"limit": None, "at": [1, None]}, {"default": None, "enum": [None, 1]})
    assert two == ({"text": "x"}, {"type": "object"})


def test_a_null_of_arrow_is_a_field_that_another_row_has(tmp_path, monkeypatch):
    from datasets import Dataset

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "c.parquet"
    Dataset.from_list(CALLS).to_parquet(str(path))
    one, two = map(arguments_and_parameters, read_examples(str(path)).examples)
    assert one == ({"at": [1, None]}, {"enum": [None, 1]})
    assert two == ({"text": "x"}, {"type": "object"})


def test_a_cell_is_the_text_that_it_holds(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes(
        b"\xef\xbb\xbfinstruction,output,input\r\n1,None,NA\r\na,007,\r\nb,c\r\n\r\n"
        b'"two\nlines",1e5,"' + b"x" * 200_000 + b'"\r\nd,e,f,g\r\n'
    )
    reading = read_examples(str(path))
    told = [[message["content"] for message in example.messages] for example in reading.examples]
    assert told == [["1\n\nNA", "None"], ["a", "007"], ["two\nlines\n\n" + "x" * 200_000, "1e5"]]
    assert [example.place for example in reading.examples] == [f"{path}:{n}" for n in (2, 3, 6)]
    assert [str(row) for row in reading.rejected] == [
        f"{path}:4: it has 2 cells, where the header has 3",
        f"{path}:8: it has 4 cells, where the header has 3",
    ]


@pytest.mark.parametrize(("content", "line", "words"), [
    ('prompt,completion\na,b\n"c,d\ne,f\n', 3, "unexpected end of data"),
    ('prompt,completion\na,"b"c\n', 2, "expected after"),
    ("text,text\na,b\n", 2, "two columns have one name"),
])  # fmt: skip
def test_a_table_that_is_broken_says_where(tmp_path, content, line, words):
    path = tmp_path / "c.csv"
    path.write_text(content)
    with pytest.raises(HomegroundError, match=words) as caught:
        read_examples(str(path))
    assert caught.value.where == f"{path}:{line}"


def test_tabs_and_packed_files_are_read(tmp_path):
    (tmp_path / "a.tsv").write_text("prompt\tcompletion\na, b\tc\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"text\nhello\n"))
    (tmp_path / "d.zst").write_bytes(b"?")
    (tmp_path / "e.parquet.gz").write_bytes(b"?")
    reading = read_examples(str(tmp_path))
    assert [example.said() for example in reading.examples] == [["a, b", "c"], ["a", "b"], ["hello"]]
    assert reading.describe().endswith("; files not read: .gz (1), .zst (1)")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode())[:-9])
    with pytest.raises(HomegroundError, match="cannot be read"):
        read_examples(str(tmp_path / "b.jsonl.gz"))


@pytest.mark.parametrize(("line", "words"), [
    (b'{"text": "\xff"}', "it cannot be read as UTF-8"),
    (b'{"text": "a", "text": "b"}', "it has 'text' twice"),
    (b'{"text": "a", "score": NaN}', "NaN is no number"),
    (b'{"text": "a", "score": ' + b"1" * 5000 + b"}", "no JSON"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"text": "\\ud83d"}', "half a character"),
    (b'["text"]', "the row is no object"),
    (b'"text"', "the row is no object"),
    (b'{"text": "a"} {"text": "b"}', "no JSON: Extra data"),
])  # fmt: skip
def test_one_odd_line_is_rejected_and_the_rest_is_read(tmp_path, line, words):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join([b'{"text": "a"}', line, b'{"text": "b"}']))
    reading = read_examples(str(path))
    assert [example.text for example in reading.examples] == ["a", "b"]
    assert reading.rejected[0].place == f"{path}:2"
    assert words in reading.rejected[0].reason


def test_a_document_that_is_one_row_is_not_taken_for_a_list_of_rows(tmp_path):
    for row in ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
                {"prompt": GOOD["messages"][:1], "completion": "b"}):  # fmt: skip
        (tmp_path / "c.json").write_text(json.dumps(row))
        (example,) = read_examples(str(tmp_path / "c.json")).examples
        assert example.said() == ["a", "b"]


def test_one_odd_file_of_a_folder_is_rejected_and_the_rest_is_read(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(GOOD))
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.txt").write_bytes(b"\xff")
    reading = read_examples(str(tmp_path))
    assert len(reading.examples) == 1
    assert [row.place for row in reading.rejected] == [f"{tmp_path / name}:1" for name in ("b.json", "c.txt")]


def test_fields_that_are_not_read_are_told(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text(
        "\n".join(json.dumps({**GOOD, **more}) for more in ({"lang": "en", "text": "x"}, {"lang": "de"}, {}))
    )
    assert read_examples(str(path)).describe() == f"{path}: 3 messages; fields not read: lang (2), text (1)"


def test_a_text_file_is_one_example_and_a_folder_all_of_its_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.md").write_text("# Title")
    (tmp_path / "b.txt").write_text("words")
    (tmp_path / "c.py").write_text("code")
    assert [e.text for e in read_examples(str(tmp_path)).examples] == ["words", "# Title"]


def test_a_limit_reads_no_further(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join([json.dumps(GOOD)] * 3 + ["{"]))
    assert read_examples(str(path), limit=3).rejected == []


@pytest.mark.parametrize(("name", "content", "words"), [
    ("c.jsonl", "", "it holds no rows"),
    ("c.jsonl", '{"x": 1}', "none of its 1 rows can be trained"),
    ("c.json", "{", "no JSON"),
    ("c.json", "3", "neither a list of rows"),
    ("c.bin", "x", "files of this kind are not read"),
    ("c.parquet", "x", "it cannot be read"),
])  # fmt: skip
def test_a_source_that_teaches_nothing_says_why(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(HomegroundError) as caught:
        read_examples(str(path))
    assert words in caught.value.message
    assert name in str(caught.value.where)


def test_what_does_not_exist_is_said_to_be_missing(tmp_path):
    with pytest.raises(HomegroundError, match="there is no such file"):
        read_examples(str(tmp_path / "c.jsonl"))
    with pytest.raises(HomegroundError, match="no file of a known kind"):
        read_examples(str(tmp_path))


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b"\xff{}")
    with pytest.raises(HomegroundError, match="cannot be read"):
        read_examples(str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_part_of_any_file_of_text(tmp_path, encoding):
    (tmp_path / "a.jsonl").write_bytes('{"text": "caf\u00e9"}\r\n{"text": "b"}\n'.encode(encoding))
    (tmp_path / "b.json").write_bytes('[{"text": "c"}]'.encode(encoding))
    (tmp_path / "c.txt").write_bytes("d".encode(encoding))
    (tmp_path / "d.md").write_bytes("e".encode(encoding))
    reading = read_examples(str(tmp_path))
    assert [example.text for example in reading.examples] == ["caf\u00e9", "b", "c", "d", "e"]


def test_a_table_with_a_byte_order_mark_keeps_the_name_of_its_first_column(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.csv").write_bytes("instruction,output\na,b\n".encode("utf-8-sig"))
    assert [e.messages[0]["content"] for e in read_examples(str(tmp_path / "a.csv")).examples] == ["a"]


conversations = st.lists(
    st.lists(st.tuples(st.sampled_from(["system", "user"]), st.text(max_size=20)), max_size=3).map(
        lambda turns: [
            *({"role": role, "content": content} for role, content in turns),
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
    ),
    min_size=1,
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations)
def test_conversations_that_are_written_are_read_again_whatever_characters_they_hold(tmp_path, conversations):
    atomic_write_jsonl(tmp_path / "c.jsonl", [{"messages": messages} for messages in conversations])
    assert [e.messages for e in read_examples(str(tmp_path / "c.jsonl"), strict=True).examples] == conversations
