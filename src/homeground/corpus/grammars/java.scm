(line_comment) @comment
(block_comment) @comment
(annotation) @lead
(marker_annotation) @lead

(class_declaration name: (_) @name) @class
(record_declaration name: (_) @name) @class
(interface_declaration name: (_) @name) @interface
(annotation_type_declaration name: (_) @name) @interface
(enum_declaration name: (_) @name) @enum
(method_declaration name: (_) @name body: (_)) @method
(constructor_declaration name: (_) @name) @method
(compact_constructor_declaration name: (_) @name) @method

(method_declaration name: (_) @name !body) @member

(method_invocation !object name: (_) @call)
(method_invocation object: (_) @qualifier name: (_) @call)
(object_creation_expression type: [(type_identifier) @call (generic_type (type_identifier) @call)])
(object_creation_expression type: (scoped_type_identifier (_) @qualifier (type_identifier) @call))

(import_declaration (scoped_identifier) @module .)
(import_declaration (scoped_identifier) @module (asterisk) @import)
