(comment) @comment
((unary_operator operand: (call target: (identifier) @_name)) @lead
  (#any-of? @_name "doc" "typedoc" "spec" "impl" "deprecated"))

((call target: (identifier) @_word (arguments . (alias) @name) (do_block)) @module
  (#any-of? @_word "defmodule" "defimpl"))
((call target: (identifier) @_word (arguments . (alias) @name) (do_block)) @interface
  (#eq? @_word "defprotocol"))
((call target: (identifier) @_word (arguments . [
  (identifier) @name
  (call target: (identifier) @name)
  (binary_operator left: (call target: (identifier) @name))
])) @function
  (#any-of? @_word "def" "defp" "defdelegate" "defguard" "defguardp"))
((call target: (identifier) @_word (arguments . [
  (binary_operator left: (identifier) @name operator: "when")
  (binary_operator operator: _ @name)
  (binary_operator left: (binary_operator operator: _ @name) operator: "when")
  (unary_operator operator: _ @name)
])) @function
  (#any-of? @_word "def" "defp")
  (#not-match? @name "^(when|[\\\\]+)$"))
((call target: (identifier) @_word (arguments . [
  (binary_operator operator: _ @name)
  (binary_operator left: (binary_operator operator: _ @name) operator: "when")
  (unary_operator operator: _ @name)
])) @macro
  (#any-of? @_word "defmacro" "defmacrop")
  (#not-match? @name "^(when|[\\\\]+)$"))
((call target: (identifier) @_word (arguments . [
  (identifier) @name
  (call target: (identifier) @name)
  (binary_operator left: (call target: (identifier) @name))
])) @macro
  (#any-of? @_word "defmacro" "defmacrop"))

((call target: (identifier) @call (arguments))
  (#not-match? @call "^(def[a-z]*|alias|import|use|require|doc|typedoc|moduledoc|spec|impl)$"))
(call target: (dot left: (_) @qualifier right: (identifier) @call))

((call target: (identifier) @_word (arguments . (alias) @module .))
  (#any-of? @_word "alias" "import" "use" "require"))
((call
  target: (identifier) @_word
  (arguments . (alias) @module . (keywords (pair key: (_) @_key value: (alias) @alias))))
  (#eq? @_word "alias")
  (#match? @_key "^as:"))
((call target: (identifier) @_word (arguments . (alias) @module . (keywords (pair key: (_) @_key))))
  (#eq? @_word "import")
  (#set! binds "none"))
