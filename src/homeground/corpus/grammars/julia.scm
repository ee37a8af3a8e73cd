(line_comment) @comment
(block_comment) @comment
((string_literal) @comment
  . [(function_definition) (macro_definition) (struct_definition) (abstract_definition) (assignment) (const_statement)])

(module_definition name: (_) @name) @module
(struct_definition (type_head [
  (identifier) @name
  (binary_expression . (identifier) @name)
  (parametrized_type_expression . (identifier) @name)
  (binary_expression . (parametrized_type_expression . (identifier) @name))
])) @struct
(abstract_definition (type_head [(identifier) @name (binary_expression . (identifier) @name)])) @type
(function_definition (signature (call_expression
  . (parenthesized_expression (typed_expression (_) (identifier) @name .))))) @function
(function_definition (signature [
  (where_expression . (typed_expression . (call_expression . (_) @name)))
  (call_expression . (_) @name)
  (typed_expression . (call_expression . (_) @name))
  (where_expression . (call_expression . (_) @name))
  (identifier) @name
])) @function
(macro_definition (signature (call_expression . (_) @name))) @macro
(assignment . (call_expression . (parenthesized_expression (typed_expression (_) (identifier) @name .)))) @function
(assignment . [
  (call_expression . (_) @name)
  (typed_expression . (call_expression . (_) @name))
  (where_expression . (call_expression . (_) @name))
  (where_expression . (typed_expression . (call_expression . (_) @name)))
  (binary_expression (_) (operator) @name (_))
]) @function

(call_expression . (identifier) @call)
(call_expression . (field_expression value: (_) @qualifier (identifier) @call))

(using_statement (identifier) @module)
(import_statement (identifier) @module)
(using_statement (selected_import . (_) @module [(identifier) (macro_identifier)] @import))
(import_statement (selected_import . (_) @module [(identifier) (macro_identifier)] @import))
