(comment) @comment
(multiline_comment) @comment
(modifiers (attribute) @lead)

(class_declaration "class" name: (_) @name) @class
(class_declaration "actor" name: (_) @name) @class
(class_declaration "struct" name: (_) @name) @struct
(class_declaration "enum" name: (_) @name) @enum
(class_declaration "extension" name: (_) @name) @impl
(protocol_declaration name: (_) @name) @interface
(function_declaration "func" . name: _ @name) @function
(protocol_body (subscript_declaration "subscript" @name) @member)
(subscript_declaration "subscript" @name) @method
(init_declaration "init" @name) @method
(deinit_declaration "deinit" @name) @method
(property_declaration name: (pattern bound_identifier: (_) @name) computed_value: (_)) @method
(typealias_declaration name: (type_identifier) @name) @type

(protocol_function_declaration "func" . name: _ @name) @member

(call_expression . (simple_identifier) @call)
(call_expression . (navigation_expression
  target: (_) @qualifier
  suffix: (navigation_suffix suffix: (simple_identifier) @call)))

(import_declaration (identifier) @module)
