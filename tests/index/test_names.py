"""Queries that are names, and what a search tells about itself."""

import pytest

from homeground.index import Filters, Index, Stage
from homeground.index.tools import Tools

SOURCE = '''
class Server:
    """Serves."""

    def serve_forever(self):
        """Serve until told to stop."""
        parse_headers(self)
        while True:
            self.serve_once()


class HTTPServer(Server):
    def serve_forever(self):
        return super().serve_forever()


def handle(headers):
    # parse_headers parse_headers parse_headers parse_headers
    """Calls parse_headers, for parse_headers is what parses headers: parse_headers."""
    return parse_headers(parse_headers(headers))


def parse_headers(stream):
%s
    return stream
'''


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    body = "\n".join(f"    row_{n} = stream.readline().strip().partition(':')[{n % 3}]" for n in range(40))
    (folder / "http.py").write_text(SOURCE % body)
    return Index.build(tmp_path_factory.mktemp("index"), [folder])[0]


@pytest.mark.parametrize(
    ("query", "symbols"),
    [
        ("parse_headers", ["parse_headers"]),
        (" parse_headers() ", ["parse_headers"]),
        ("HTTPServer.serve_forever", ["HTTPServer.serve_forever"]),
        ("HTTPServer::serve_forever", ["HTTPServer.serve_forever"]),
        ("serve_forever", ["HTTPServer.serve_forever", "Server.serve_forever"]),
        ("httpserver", ["HTTPServer"]),
    ],
)
def test_a_name_finds_its_definition_first(index, query, symbols):
    hits = index.search(query, 5)
    assert sorted(hit.symbol for hit in hits[: len(symbols)]) == symbols
    assert all("symbol" in hit.scores for hit in hits[: len(symbols)])
    assert all("symbol" not in hit.scores for hit in hits[len(symbols) :])
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_definition_is_shown_from_its_first_line(index):
    hit = index.search("parse_headers", 1)[0]
    assert hit.text.startswith("def parse_headers(stream):")


def test_words_lift_nothing(index):
    for query in ("parse headers", "serve_forever of HTTPServer", "parse_headers, please"):
        assert all("symbol" not in hit.scores for hit in index.search(query, 10))


def test_the_stage_can_be_left_out(index):
    stages = [Stage.DENSE, Stage.LEXICAL]
    assert all("symbol" not in hit.scores for hit in index.search("parse_headers", 10, stages=stages))


SIGNS = {
    "money.rb": """class Money
  def [](key)
    @parts[key]
  end

  def []=(key, value)
    @parts[key] = value
  end

  def <=>(other)
    compare(other)
  end

  def empty?
    self <=> nil
  end

  def empty
    @parts = {}
  end
end
""",
    "gauge.h": """class GAUGE_EXPORT Gauge {
 public:
  operator bool() const { return read(); }
  bool operator==(const Gauge& other) const { return same(other); }
  int operator[](int row) const { return read(); }
  ~Gauge() { close(); }
};
""",
    "Fold.hs": """module Fold where

(<+>) :: Int -> Int -> Int
a <+> b = a
""",
    "list.scala": """class Chain {
  def ::(x: Int): Chain = {
    prepend(x)
  }
}
""",
    "sum.go": "package shop\n\nfunc sum(row int) int { return row }\n\nfunc Sum(row int) int { return sum(row) }\n",
    "lazy.ts": """import * as core from "./core";

// ---- helpers ----
export interface ZodLazy<T> {
  unwrap(): T;
}

/** @internal Parses without throwing. */
export const safeParse: core.Parse = /* @__PURE__ */ core._safeParse(core.$ZodRealError);

export const _safeParse = (error: unknown) => (schema: string) => {
  return schema.length ? error : undefined;
};

export const $ZodLazy = core.$constructor("$ZodLazy", 1);

export class Shelf {
  #hidden(row: number) { return row + this.hidden(row); }
  hidden(row: number) { return row * 2; }
}

export function registerEverything(names: string[]) {
  return names.map((name) => name.trim().toLowerCase()).filter(Boolean).sort();
}
""",
}


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signs")
    for name, text in SIGNS.items():
        (folder / name).write_text(text)
    return Index.build(tmp_path_factory.mktemp("index"), [folder])[0]


@pytest.mark.parametrize(
    ("written", "symbol"),
    [
        ("Money.[]", "Money.[]"), ("Money#[]=", "Money.[]="), ("[]=", "Money.[]="), ("<=>", "Money.<=>"),
        ("Money.<=>", "Money.<=>"), ("empty?", "Money.empty?"), ("empty", "Money.empty"), ("empty()", "Money.empty"),
        ("operator bool", "Gauge.operator bool"), ("Gauge::operator==", "Gauge.operator=="),
        ("operator ==", "Gauge.operator=="), ("operator[]", "Gauge.operator[]"), ("Gauge::~Gauge", "Gauge.~Gauge"),
        ("(<+>)", "<+>"), ("<+>", "<+>"), ("Chain.::", "Chain.::"), ("::", "Chain.::"), ("Gauge", "Gauge"),
        ("ZodLazy", "ZodLazy"), ("_safeParse", "_safeParse"), ("#hidden", "Shelf.#hidden"), ("hidden", "Shelf.hidden"),
        ("Shelf.#hidden", "Shelf.#hidden"), ("sum", "sum"), ("Sum", "Sum"),
    ],
)  # fmt: skip
def test_a_name_with_signs_is_found_first_by_each_tool(signs, written, symbol):
    tools = Tools(signs)
    assert signs.search(written, 5)[0].symbol == symbol
    assert tools.symbols(written).symbols[0].symbol == symbol
    assert tools.trace(written).symbol.symbol == symbol


@pytest.mark.parametrize(("written", "line"), [("safeParse", 9), ("$ZodLazy", 15), ("$zodlazy", 15)])
def test_a_name_without_a_chunk_of_its_own_is_found_in_the_chunk_that_holds_it(signs, written, line):
    tools = Tools(signs)
    hit = signs.search(written, 5)[0]
    assert (hit.path, "symbol" in hit.scores) == ("lazy.ts", True)
    assert hit.start <= line <= hit.end
    assert tools.symbols(written).symbols[0].line == tools.trace(written).symbol.line == line


def test_a_name_that_only_files_without_it_may_answer_lifts_nothing(signs):
    hits = signs.search("$ZodLazy", 5, filters=Filters(paths=("*.rb",)))
    assert hits
    assert all("symbol" not in hit.scores for hit in hits)


def test_a_skeleton_says_what_is_said_of_a_definition_and_no_banner(signs):
    said = {one.symbol: one.doc for one in Tools(signs).skeleton("lazy.ts").entries}
    assert (said["safeParse"], said["ZodLazy"]) == ("Parses without throwing.", "")


def test_a_name_with_signs_can_have_its_file_in_front(signs):
    assert Tools(signs).trace("gauge.h:Gauge::operator==").external == ["same"]
    assert Tools(signs).trace("list.scala:Chain.::").symbol.path == "list.scala"


def test_an_operator_among_words_counts(signs):
    hits = signs.search("how is the order decided by <=>", 5, stages=[Stage.LEXICAL])
    assert hits[0].symbol == "Money.<=>"


def test_a_search_explains_itself(index):
    found = index.explain("how are headers parsed", 3)
    assert found.hits == index.search("how are headers parsed", 3)
    told = found.explain
    assert told.weights == {"dense": index.config.dense_weight, "lexical": index.config.lexical_weight}
    assert set(told.seconds) >= {"dense", "lexical", "fused"}
    assert told.searched == told.candidates == len(index.chunks())
    assert set(told.to_json()) == {"weights", "seconds", "candidates", "searched"}


@pytest.mark.parametrize("query", ["x" * 60_000, "Server." + "y" * 60_000, "%" * 60_000, "_" * 60_000])
def test_a_name_of_any_length_is_searched(index, query):
    assert index._manifest.named(query) == []
    assert isinstance(index.search(query, 1), list)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("serve_forever", 2),
        ("SERVE_FOREVER", 2),
        ("server.serve_forever", 1),
        ("serve%", 0),
        ("serve?forever", 0),
        ("forever", 0),
        ("Server", 1),
    ],
)
def test_a_name_is_a_whole_symbol_or_its_end_behind_a_dot(index, name, count):
    assert len({(chunk.path, chunk.symbol) for chunk in index._manifest.named(name)}) == count
