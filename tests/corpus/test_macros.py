"""Classes and functions of C and C++ behind macros, attributes and conditionals."""

# ruff: noqa: E501 - a case is one line

import time

import pytest

from homeground.corpus import language_of, outline

CPP = [
    ("class MYLIB_EXPORT Gauge {\n public:\n  int f() { return 1; }\n};\n", "class:Gauge method:Gauge.f"),
    ("struct API V {\n  int x;\n};\n", "struct:V"),
    ("struct API V { int x; };\n", "struct:V"),
    ("enum class API M { A, B };\n", "enum:M"),
    ("enum API M { A, B };\n", "enum:M"),
    ("enum class API M : int {\n A,\n B\n};\n", "enum:M"),
    ("class API L final {\n  void g();\n};\n", "class:L"),
    ("class GAME_API A : public B {\n  void g() {}\n};\n", "class:A method:A.g"),
    ("class GAME_API A : B<int>, public C {\n  void g() {}\n};\n", "class:A method:A.g"),
    ("class GAME_API A final : public B\n{\n  void g() {}\n};\n", "class:A method:A.g"),
    ("template<class T> class API X {\n  void g() {}\n};\n", "class:X method:X.g"),
    ("template<class T> class API X<T*> {\n  void g() {}\n};\n", "class:X method:X.g"),
    ("class __declspec(dllexport) D {\n  void g() {}\n};\n", "class:D method:D.g"),
    ("class [[nodiscard]] E {\n  void g() {}\n};\n", "class:E method:E.g"),
    ("class alignas(16) F {\n  void g() {}\n};\n", "class:F method:F.g"),
    (
        "class Q_DECL_EXPORT G {\n  Q_OBJECT\n public:\n  Q_PROPERTY(int x READ x NOTIFY changed)\n  void g() {}\n signals:\n  void changed();\n public Q_SLOTS:\n  void h() {}\n};\n",
        "class:G method:G.g method:G.h",
    ),
    ('class __attribute__((visibility("default"))) H {\n  void g() {}\n};\n', "class:H method:H.g"),
    ("class API(1) H {\n  void g() {}\n};\n", "class:H method:H.g"),
    ('class API [[deprecated("x")]] H {\n  void g() {}\n};\n', "class:H method:H.g"),
    ("class rapidjson_export H {\n  void g() {}\n};\n", "class:H method:H.g"),
    ("class API ns::H {\n  void g() {}\n};\n", "class:ns.H method:ns.H.g"),
    ("API int f() { return 1; }\n", "function:f"),
    ("int API f() { return 1; }\n", "function:f"),
    ("static API_INLINE void g() {}\n", "function:g"),
    ("API_EXTERN_C API int STDCALL f(int x) { return 1; }\n", "function:f"),
    ("MY_API(int) f(int x) { return 1; }\n", "function:f"),
    ("void f() API_NOEXCEPT { g(); }\n", "function:f"),
    ("void f() const API_NOEXCEPT(true) { g(); }\n", "function:f"),
    ("API extern int x;\nint API y = 3;\nvoid f() {}\n", "function:f"),
    ("QT_BEGIN_NAMESPACE\n\nclass Q_CORE_EXPORT A {\n  void g() {}\n};\n\nQT_END_NAMESPACE\n", "class:A method:A.g"),
    ("BEGIN_NAMESPACE(foo)\nclass A {\n  void g() {}\n};\nEND_NAMESPACE\n", "class:A method:A.g"),
    (
        'UCLASS(Blueprintable, meta = (DisplayName = "x"))\nclass GAME_API AActor : public UObject\n{\n    GENERATED_BODY()\n\npublic:\n    UPROPERTY(EditAnywhere)\n    int32 X;\n\n    UFUNCTION(BlueprintCallable)\n    void G() { H(); }\n};\n',
        "class:AActor method:AActor.G",
    ),
    ('extern "C" {\nAPI int f(int x) { return 1; }\n}\n', "function:f"),
    (
        '#ifdef __cplusplus\nextern "C" {\n#endif\nAPI int f(int x) { return 1; }\nint g(void) { return 2; }\n#ifdef __cplusplus\n}\n#endif\n',
        "function:f function:g",
    ),
    ("#ifdef A\nint f(int a) {\n#else\nint f(long a) {\n#endif\n  return 1;\n}\n", "function:f"),
    ("#if A\nclass X : public Y {\n#else\nclass X {\n#endif\n  void g() {}\n};\n", "class:X method:X.g"),
    ("struct Point p{1, 2};\nenum Color c{Red};\nvoid f() { struct Point q{1, 2}; }\n", "function:f"),
    ("struct stat *f(struct stat st) { return 0; }\nstruct foo bar = { 1 };\n", "function:f"),
    (
        "class Outer {\n  class API Inner {\n    void g() {}\n  };\n};\n",
        "class:Outer class:Outer.Inner method:Outer.Inner.g",
    ),
    ("class API A; class API B;\nvoid f(class API A *x) {}\n", "function:f"),
    ("union API U {\n  int a;\n  float b;\n};\n", "struct:U"),
    ("typedef struct API S {\n  int a;\n} S;\n", "struct:S"),
    ('FOO_DEFINE(x)\nFOO_DEFINE(y, 1, "z");\nint f() { return 1; }\n', "function:f"),
    ("class A {\n  FOO_DISALLOW(A);\n  BAR(A)\n  void g() {}\n};\n", "class:A method:A.g"),
    ("template <typename T> requires C<T> class API X { void g() {} };\n", "class:X method:X.g"),
    (
        "export module foo;\nimport std;\nexport class API X { void g() {} };\nexport int f() { return 1; }\n",
        "class:X method:X.g function:f",
    ),
    ("template <class T>\nAPI_CONSTEXPR T f(T x) API_NOEXCEPT\n{\n  return x;\n}\n", "function:f"),
    ("auto f(int x) -> int { return x ? 1 : 2; }\nint g(this auto&& self) { return 1; }\n", "function:f function:g"),
    ("std::ostream& operator<<(std::ostream& o, const A& a) { return o; }\n", "function:operator<<"),
]

C = [
    ("struct API V {\n  int x;\n};\n", "struct:V"),
    (
        "struct __attribute__((packed)) V {\n  int x;\n};\nstruct W {\n  int x;\n} __attribute__((packed));\n",
        "struct:V struct:W",
    ),
    ("API int f(int x) { return 1; }\n", "function:f"),
    ("static __attribute__((noinline)) int f(int x) { return 1; }\n", "function:f"),
    ("int f(int x) __attribute__((noreturn));\nint g(int x) { return 1; }\n", "function:g"),
    (
        'static int __init f(void)\n{\n  return 1;\n}\nmodule_init(f);\nEXPORT_SYMBOL(f);\nMODULE_LICENSE("GPL");\nint g(void) { return 1; }\n',
        "function:f function:g",
    ),
    (
        "SYSCALL_DEFINE3(read, unsigned int, fd, char __user *, buf, size_t, count)\n{\n  return f(fd);\n}\nint g(void) { return 1; }\n",
        "function:g",
    ),
    ("int f(a, b)\n  int a;\n  char *b;\n{\n  return 1;\n}\nint g(void) { return 1; }\n", "function:f function:g"),
    ("int\nf(a, b) int a; char *b;\n{\n  return 1;\n}\nint g(void) { return 1; }\n", "function:f function:g"),
    ('extern "C" {\nAPI int f(int x) { return 1; }\n}\n', "function:f"),
    (
        "#ifdef A\nint f(int a) {\n#else\nint f(long a) {\n#endif\n  return 1;\n}\nint g(void) { return 1; }\n",
        "function:f function:g",
    ),
    (
        "#ifdef A\nint f(int a)\n#else\nint f(long a)\n#endif\n{\n  return 1;\n}\nint g(void) { return 1; }\n",
        "function:f function:g",
    ),
    (
        "int f(int a) {\n#ifdef A\n  if (a) {\n#else\n  if (!a) {\n#endif\n    x();\n  }\n  return 1;\n}\nint g(void) { return 1; }\n",
        "function:f function:g",
    ),
    (
        "PyMODINIT_FUNC\nPyInit_x(void)\n{\n  return 0;\n}\nPNG_EXTERN int g(void) { return 1; }\n",
        "function:PyInit_x function:g",
    ),
    (
        "static PyObject *\nf(PyObject *self, PyObject *Py_UNUSED(args))\n{\n  PyObject_HEAD\n  return 0;\n}\nint g(void) { return 1; }\n",
        "function:f function:g",
    ),
    (
        "list_for_each(x)\nvoid f(void) {\n  list_for_each_entry(p, &h, l) {\n    g(p);\n  }\n  list_for_each_entry(p, &h, l)\n    g(p);\n}\nint g(void) { return 1; }\n",
        "function:f function:g",
    ),
    (
        "int f(x) { return x; }\nvoid *STDCALL g(void) { return 0; }\nint (*h(int x))(void) { return 0; }\nchar ***q(void) { return 0; }\n",
        "function:f function:g function:h function:q",
    ),
    ("enum API Color { RED, GREEN };\ntypedef enum API { A1 } E;\n", "enum:Color enum:API"),
]

TAIL = "\n\nstruct Tail {\n  int x;\n};\n\nint tail(void) { return 1; }\n"
FILES = [("a.cpp", CPP), ("a.hpp", CPP), ("a.h", CPP), ("a.c", C), ("a.h", C)]


@pytest.mark.parametrize(
    ("name", "text", "defined"), [(name, text, defined) for name, cases in FILES for text, defined in cases]
)
def test_what_stands_behind_macros_keeps_its_kind_and_its_name(name, text, defined):
    found = [f"{one.kind}:{one.symbol}" for one in outline((text + TAIL).split("\n"), language_of(name)).definitions]
    assert [one for one in found if not one.startswith("member")] == [*defined.split(), "struct:Tail", "function:tail"]


def test_a_class_behind_a_macro_has_its_lines_its_head_and_its_members():
    lines = ["class MYLIB_EXPORT Gauge {", " public:", "  int read();", "};"]
    gauge, read = outline(lines, language_of("gauge.h")).definitions
    assert (gauge.kind, gauge.start, gauge.end, gauge.signature) == ("class", 1, 4, "class MYLIB_EXPORT Gauge")
    assert (read.symbol, read.kind) == ("Gauge.read", "member")


def test_what_a_header_of_cpp_only_declares_is_listed():
    lines = [
        "API int top(int x);",
        "namespace n {",
        "Gauge& inner();",
        "class Gauge {",
        "  Gauge(int x);",
        "  ~Gauge();",
    ]
    lines += ["  bool operator!() const;", "};", "}", "void f() { Gauge g(top(1)); }"]
    found = outline(lines, language_of("a.h")).definitions
    members = ["top", "n.inner", "n.Gauge.Gauge", "n.Gauge.~Gauge", "n.Gauge.operator!"]
    assert [one.symbol for one in found if one.kind == "member"] == members


def test_what_the_other_half_of_a_conditional_defines_stays():
    lines = ["#ifdef A", "int f(int a) {", "#else", "int f(long a) {", "#endif", "  return 1;", "}"]
    lines += ["#ifdef B", "int g(void) { return f(1); }", "#else", "int h(void) { return f(2); }", "#endif"]
    found = outline(lines, language_of("a.c"))
    assert {one.symbol for one in found.definitions} == {"f", "g", "h"}
    assert {one.symbol for one in found.references} == {"g", "h"}


def test_a_variable_of_a_class_in_braces_is_no_class():
    lines = ["struct Point p{1, 2};", "enum Color c{Red};", "void f() { struct Point q{1, 2}; }"]
    assert [one.symbol for one in outline(lines, language_of("a.cpp")).definitions] == ["f"]


@pytest.mark.parametrize(
    "text",
    ["AAA BBB " * 10_000, "class A b : " * 10_000, "AAA(\n" * 10_000, "class A b<" * 10_000, "#if 0\n" * 10_000,
     "class A " + " " * 200_000, "AAA((((" * 6_000, ") const AAA(" * 6_000],
    ids=["words", "bases", "calls", "arguments", "conditionals", "blanks", "nested", "behind"],
)  # fmt: skip
def test_hostile_macros_take_linear_time(text):
    began = time.process_time()
    outline(["int f( {", *text.split("\n")], language_of("a.cpp"))
    assert time.process_time() - began < 6


def test_kotlins_bodies_of_one_line_cost_nothing_beside_them():
    lines = [
        "class Jar(val grams: Int) { fun full() = grams > 3 }",
        "class Lid { class Knob { fun turn() {} } }",
        'enum class Size { S { override fun label() = "${ 1 } {" }, L; open fun label() = "l" }',
        "object Rack { fun put() { if (free) { add() } else { grow() } } } // { }",
        "fun last() = 1",
    ]
    found = outline(lines, language_of("a.kt")).definitions
    assert [one.symbol for one in found if one.kind != "member"] == [
        "Jar", "Jar.full", "Lid", "Lid.Knob", "Lid.Knob.turn", "Size", "Size.label", "Size.label", "Rack", "Rack.put",
        "last",
    ]  # fmt: skip
