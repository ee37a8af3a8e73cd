(comment) @comment

(function_definition declarator: [
  (function_declarator declarator: (identifier) @name)
  (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))
  (pointer_declarator declarator: (pointer_declarator declarator: (function_declarator declarator: (identifier) @name)))
  (pointer_declarator declarator: (pointer_declarator declarator: (pointer_declarator
    declarator: (function_declarator declarator: (identifier) @name))))
  (function_declarator declarator: (parenthesized_declarator (pointer_declarator
    declarator: (function_declarator declarator: (identifier) @name))))
  (function_declarator declarator: (function_declarator declarator: (identifier) @name))
]) @function
(struct_specifier name: (_) @name body: (_)) @struct
(union_specifier name: (_) @name body: (_)) @struct
(enum_specifier name: (_) @name body: (_)) @enum
(type_definition type: (struct_specifier !name) declarator: (type_identifier) @name) @struct
(type_definition type: (union_specifier !name) declarator: (type_identifier) @name) @struct
(type_definition type: (enum_specifier !name) declarator: (type_identifier) @name) @enum
(preproc_function_def name: (_) @name) @macro

(declaration declarator: [
  (function_declarator declarator: (identifier) @name)
  (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))
]) @member

(call_expression function: (identifier) @call)
(call_expression function: (field_expression argument: (_) @qualifier field: (_) @call))

((preproc_include path: (_) @module) (#set! binds "none"))
