(comment) @comment

(function_declaration name: (identifier) @name) @function
(method_declaration
  receiver: (parameter_list (parameter_declaration type: (_) @owner))
  name: (field_identifier) @name) @method
(type_spec name: (_) @name type: (struct_type)) @struct
(type_spec name: (_) @name type: (interface_type)) @interface
((type_spec name: (_) @name type: (_) @_type) @type
  (#not-match? @_type "^(struct|interface)\\b"))
(type_alias name: (_) @name) @type

(interface_type (method_elem name: (_) @name) @member)

(call_expression function: (identifier) @call)
(call_expression function: (selector_expression operand: (_) @qualifier field: (_) @call))
(composite_literal type: (type_identifier) @call)

(import_spec !name path: (_) @module)
(import_spec name: (_) @alias path: (_) @module)
