(comment) @comment

(function_declaration name: (method_index_expression table: (_) @owner method: (_) @name)) @method
(function_declaration name: (_) @name) @function
(assignment_statement
  (variable_list . name: (bracket_index_expression table: (_) @owner field: (_) @name))
  (expression_list . value: (function_definition))) @function
(assignment_statement (variable_list . name: (_) @name) (expression_list . value: (function_definition))) @function
(field name: [(identifier) (string)] @name value: (function_definition)) @function

(function_call name: (identifier) @call)
(function_call name: (dot_index_expression table: (_) @qualifier field: (_) @call))
(function_call name: (method_index_expression table: (_) @qualifier method: (_) @call))

(assignment_statement
  (variable_list . name: (identifier) @alias)
  (expression_list . value: (function_call
    name: (identifier) @_require (#eq? @_require "require")
    arguments: (arguments . (string) @module))))
