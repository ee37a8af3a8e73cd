"""Names of definitions with signs, as they are written in each language."""

import pytest

from homeground.corpus import language_of, outline, own_name, spellings, split_symbol
from homeground.corpus.names import clean_name

OPERATORS = [
    (
        "a.rb",
        ["class Money", "  def [](i) = i", "  def []=(i, v)", "    1", "  end", "  def <=>(o) = 1", "  def +@ = 1",
         "  def ! = 1", "  def empty? = 1", "  def save! = 1", "  def name=(v)", "    1", "  end", "  def `(cmd) = 1",
         "end"],
        "Money Money.[] Money.[]= Money.<=> Money.+@ Money.! Money.empty? Money.save! Money.name= Money.`",
    ),
    (
        "a.cpp",
        ["class A {", "  explicit operator bool() const { return true; }", "  int operator()(int x) { return x; }",
         "  void* operator new[](size_t n) { return 0; }", "  bool operator ==(const A&) const { return true; }",
         "  int& operator[](int i) { return x; }", "  operator const char*() const { return 0; }",
         "  operator std::string() const { return s; }", "  auto operator<=>(const A&) const = default;",
         "  virtual ~A() {}", "};", "Km operator \"\" _km(long double x) { return Km(x); }",
         "A::operator int() const { return 1; }", "A& A::operator=(A&& a) { return *this; }"],
        "A A.operator_bool A.operator() A.operator_new[] A.operator== A.operator[] A.operator_const_char*"
        " A.operator_std::string A.operator<=> A.~A operator\"\"_km A.operator_int A.operator=",
    ),
    (
        "a.scala",
        ["class A {", "  def ::(x: Int): A = this", "  def unary_! : A = this", "  def `odd name`(x: Int) = 1",
         "  def value_=(v: Int): Unit = {}", "  def |+|(x: Int) = 1", "}", "object :: {",
         "  def apply(x: Int) = 1", "}"],
        "A A.:: A.unary_! A.odd_name A.value_= A.|+| :: ::.apply",
    ),
    (
        "a.swift",
        ["struct A {", "    static func == (a: A, b: A) -> Bool { true }", "    static prefix func - (a: A) -> A { a }",
         "    subscript(i: Int) -> Int { 1 }", "    init?(x: Int) { }", "    deinit { }", "    func `default`() { }",
         "}",
         "func ** (a: Int, b: Int) -> Int { a }"],
        "A A.== A.- A.subscript A.init A.deinit A.default **",
    ),
    (
        "a.hs",
        ["(<>) a b = a", "a <+> b = a", "a `op` b = a", "(f . g) x = f (g x)", "(!?) = lookup", "data a :+: b = L a",
         "instance Semigroup A where", "  a <> b = a"],
        "<> <+> op . !? :+: Semigroup.A Semigroup.A.<>",
    ),
    (
        "a.kt",
        ["class A {", "    operator fun plus(o: A): A = o", "    fun `adds two numbers (fast)`() {", "    }", "}"],
        "A A.plus A.adds_two_numbers_(fast)",
    ),
    (
        "a.jl",
        ["Base.:(==)(a::A, b) = true", "⊕(a, b) = a", "a ⊞ b = a", "(f::F)(x) = 1", "function Base.:+(a, b)", "    a",
         "end", "var\"odd name\"(x) = 1", "empty!(x) = 1", "length(a::A{T}) where {T} = 1", "g(x)::Int = 1"],
        "Base.== ⊕ ⊞ F Base.+ odd_name empty! length g",
    ),
    (
        "a.ex",
        ["defmodule M do", "  def a + b, do: a", "  def l |> r when l do", "    r", "  end", "  def +a, do: a",
         "  defmacro a ~>> b do", "    a", "  end", "  def empty?(x), do: x", "end"],
        "M M.+ M.|> M.+ M.~>> M.empty?",
    ),
    (
        "a.ml",
        ["let ( + ) a b = a", "let ( let* ) x f = f x", "let (!) x = x", "external ( & ) : int = \"and\"",
         "let f (type a) (x : a) : a = x"],
        "+ let* ! & f",
    ),
    ("a.mli", ["val ( >>= ) : int -> int"], ">>="),
    (
        "a.ts",
        ["class A {", "  [Symbol.iterator]() { return 1; }", "  #secret() { return 1; }",
         "  'odd name'() { return 1; }",
         "  ['quoted'] = () => 1;", "  get size() { return 1; }", "}", "A.prototype['late'] = function () {};",
         "exports['x-y'] = () => 1;"],
        "A A.Symbol.iterator A.#secret A.odd_name A.quoted A.size A.late x-y",
    ),
    (
        "a.lua",
        ["M[\"x\"] = function() end", "M[1] = function() end", "local t = { [\"y\"] = function() end }",
         "M.__index = function() end"],
        "M.x M.1 y M.__index",
    ),
    (
        "a.cs",
        ["class A {", "    public static A operator +(A a, A b) { return a; }",
         "    public static implicit operator int(A a) => 1;", "    public int this[int i] { get { return 1; } }",
         "    ~A() { f(); }", "    int @class() { return 1; }", "}"],
        "A A.operator+ A.operator_int A.this[] A.~A A.class",
    ),
    ("a.zig", ["pub fn @\"odd name\"(x: u8) u8 {", "    return x;", "}"], "odd_name"),
    ("a.sql", ["CREATE TABLE `a b`.`c` (id int);", "CREATE VIEW a.\"B\" AS SELECT 1;"], "a_b.c a.B"),
    ("b.sql", ["CREATE TABLE [dbo].[Orders] (id int);"], "dbo.Orders"),
    ("a.css", [".a::before, b[c=\"d\"] {", "  color: red;", "}"], ".a::before,_b[c=\"d\"]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "lines", "symbols"), OPERATORS, ids=[name for name, *_ in OPERATORS])
def test_signs_are_a_part_of_the_name(name, lines, symbols):
    found = outline(lines, language_of(name)).definitions
    assert [one.symbol.replace(" ", "_") for one in found] == symbols.split()


@pytest.mark.parametrize(
    ("symbol", "owner", "name"),
    [
        ("A.b", "A", "b"), ("b", "", "b"), ("Money.[]=", "Money", "[]="), ("A.::", "A", "::"),
        ("::.apply", "::", "apply"),
        (".", "", "."), ("M.<.>", "M", "<.>"), ("M....", "M", "..."), ("A.empty?", "A", "empty?"), ("", "", ""),
        ("A.operator std::string", "A", "operator std::string"), ("Base.+", "Base", "+"), ("prime'", "", "prime'"),
    ],
)  # fmt: skip
def test_the_dot_of_an_operator_divides_nothing(symbol, owner, name):
    assert split_symbol(symbol) == (owner, name)
    assert own_name(symbol) == name


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a.b_c", "a.b_c"), ("A::b", "A.b"), ("Set#add()", "Set.add"), ("größe", "größe"), ("Money#[]", "Money.[]"),
        ("A::operator ==", "A.operator=="), ("operator bool", "operator bool"), ("(<>)", "<>"),
        ("`odd name`", "odd name"),
        ("[Symbol.iterator]", "Symbol.iterator"), ("init?", "init"), ("A.::", "A.::"), ("A.#secret", "A.#secret"),
        ("operator()", "operator()"), ("this[]", "this[]"),
    ],
)  # fmt: skip
def test_a_name_is_understood_as_it_is_written(written, meant):
    assert meant in spellings(written)


@pytest.mark.parametrize("written", ["two words", "", " ", "a\nb", "\0\ud800", "x" * 300])
def test_words_and_oddities_are_no_name(written):
    assert spellings(written) == []


@pytest.mark.parametrize(
    "text", ["<=>", "[]", "[]=", "`", "::", "~>", "+", "!", "Foo<Bar>", "Foo[T]", "a::b", '"', "[]?"]
)
def test_a_clean_name_is_never_empty_and_stays(text):
    name = clean_name(text)
    assert name not in ("", "?")
    assert clean_name(name) == name
