(line_comment) @comment
(block_comment) @comment
(attribute_item) @lead

(function_item name: (_) @name) @function
(struct_item name: (_) @name) @struct
(union_item name: (_) @name) @struct
(enum_item name: (_) @name) @enum
(trait_item name: (_) @name) @trait
(impl_item type: (_) @name) @impl
(mod_item name: (_) @name body: (_)) @module
(type_item name: (_) @name) @type
(macro_definition name: (_) @name) @macro

(function_signature_item name: (_) @name) @member

(call_expression function: (identifier) @call)
(call_expression function: (field_expression value: (_) @qualifier field: (_) @call))
(call_expression function: (scoped_identifier path: (_) @qualifier name: (_) @call))
(call_expression function: (generic_function function: (identifier) @call))
(call_expression function: (generic_function function: (scoped_identifier path: (_) @qualifier name: (_) @call)))
(macro_invocation macro: (identifier) @call)

(use_declaration argument: [(identifier) (scoped_identifier)] @module)
(use_declaration argument: (use_as_clause path: (_) @module alias: (_) @alias))
(use_declaration argument: (use_wildcard (_) @module) @import)
(use_declaration argument: (scoped_use_list path: (_) @module list: (use_list [
  [(identifier) (scoped_identifier)] @import
  (use_as_clause path: (_) @import alias: (_) @alias)
])))
