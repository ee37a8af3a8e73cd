(comment) @comment

(function_declaration name: (_) @name) @function
(variable_declaration . (identifier) @name (struct_declaration)) @struct
(variable_declaration . (identifier) @name (union_declaration)) @struct
(variable_declaration . (identifier) @name (enum_declaration)) @enum
(test_declaration [(string) (identifier)] @name) @function

(call_expression function: (identifier) @call)
(call_expression function: (field_expression object: (_) @qualifier member: (_) @call))

((variable_declaration
  . (identifier) @alias
  (builtin_function (builtin_identifier) @_import (arguments (string) @module)))
  (#eq? @_import "@import"))
