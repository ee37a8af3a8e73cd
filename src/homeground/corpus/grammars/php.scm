(comment) @comment
(attribute_list) @lead

(function_definition name: (_) @name) @function
(method_declaration name: (_) @name body: (_)) @method
(class_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(trait_declaration name: (_) @name) @trait
(enum_declaration name: (_) @name) @enum
(namespace_definition name: (_) @name body: (_)) @module

(method_declaration name: (_) @name !body) @member

(function_call_expression function: [(name) (qualified_name)] @call)
(member_call_expression object: (_) @qualifier name: (name) @call)
(scoped_call_expression scope: (_) @qualifier name: (name) @call)
(object_creation_expression [(name) (qualified_name)] @call)

(namespace_use_clause !alias [(name) (qualified_name)] @module)
(namespace_use_clause [(name) (qualified_name)] @module alias: (_) @alias)
