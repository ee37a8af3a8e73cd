(comment) @comment
(decorator) @lead

(function_declaration name: (_) @name) @function
(generator_function_declaration name: (_) @name) @function
(class_declaration name: (_) @name) @class
(method_definition name: (_) @name) @method
(variable_declarator
  name: (identifier) @name
  value: [(arrow_function) (function_expression) (generator_function)]) @function
(variable_declarator name: (identifier) @name value: (class)) @class
(variable_declarator
  name: (identifier) @name
  value: (call_expression arguments: (arguments . [(arrow_function) (function_expression)]))) @function
(variable_declarator
  name: (identifier) @name
  value: (call_expression arguments: (arguments (_) [(arrow_function) (function_expression)]))) @function
(export_statement declaration: (_ (variable_declarator name: (identifier) @name value: (_)) @member))
((program (lexical_declaration
  (variable_declarator name: (identifier) @name value: (call_expression function: (_) @_made)) @member))
  (#not-eq? @_made "require"))
((program (expression_statement
  (assignment_expression left: (member_expression) @name right: (call_expression)) @member))
  (#match? @name "^(module\\.)?exports\\."))
(assignment_expression
  left: [(identifier) (member_expression)] @name
  right: [(arrow_function) (function_expression) (generator_function)]) @function
(assignment_expression
  left: (subscript_expression object: (_) @owner index: (_) @name)
  right: [(arrow_function) (function_expression) (generator_function)]) @function
(pair key: (_) @name value: [(arrow_function) (function_expression)]) @function

(call_expression function: (identifier) @call)
(call_expression function: (member_expression object: (_) @qualifier property: (_) @call))
(new_expression constructor: (identifier) @call)
(new_expression constructor: (member_expression object: (_) @qualifier property: (_) @call))

(import_statement (import_clause (identifier) @alias) source: (string) @module)
(import_statement (import_clause (namespace_import (identifier) @alias)) source: (string) @module)
(import_statement
  (import_clause (named_imports (import_specifier name: (_) @import !alias)))
  source: (string) @module)
(import_statement
  (import_clause (named_imports (import_specifier name: (_) @import alias: (_) @alias)))
  source: (string) @module)
(variable_declarator
  name: (identifier) @alias
  value: (call_expression
    function: (identifier) @_require (#eq? @_require "require")
    arguments: (arguments . (string) @module)))
(variable_declarator
  name: (object_pattern [
    (shorthand_property_identifier_pattern) @import
    (pair_pattern key: (_) @import value: (identifier) @alias)
  ])
  value: (call_expression
    function: (identifier) @_require (#eq? @_require "require")
    arguments: (arguments . (string) @module)))
