(comment) @comment
(attribute_list) @lead

(class_declaration name: (_) @name) @class
(record_declaration name: (_) @name) @class
(struct_declaration name: (_) @name) @struct
(interface_declaration name: (_) @name) @interface
(enum_declaration name: (_) @name) @enum
(namespace_declaration name: (_) @name) @module
(delegate_declaration name: (_) @name) @type
(method_declaration name: (_) @name body: (_)) @method
(constructor_declaration name: (_) @name) @method
((destructor_declaration name: (_) @name) @method (#set! named "~NAME"))
((operator_declaration operator: _ @name) @method (#set! named "operator NAME"))
((conversion_operator_declaration type: (_) @name) @method (#set! named "operator NAME"))
((indexer_declaration "this" @name
  [(accessor_list (accessor_declaration body: (_))) (arrow_expression_clause)]) @method (#set! named "NAME[]"))
(event_declaration name: (_) @name accessors: (accessor_list)) @method
(property_declaration name: (_) @name accessors: (accessor_list (accessor_declaration body: (_)))) @method
(local_function_statement name: (_) @name) @function

(method_declaration name: (_) @name !body) @member
((indexer_declaration "this" @name) @member (#set! named "NAME[]"))

(invocation_expression function: (identifier) @call)
(invocation_expression function: (member_access_expression expression: (_) @qualifier name: (identifier) @call))
(object_creation_expression type: (identifier) @call)
(object_creation_expression type: (generic_name (identifier) @call))

((using_directive !name [(identifier) (qualified_name)] @module) (#set! binds "none"))
(using_directive name: (_) @alias (_) @module)
