(line_comment) @comment
(block_comment) @comment
(modifiers (annotation) @lead)

(class_declaration name: (_) @name (enum_class_body)) @enum
(class_declaration "interface" name: (_) @name) @interface
(class_declaration "class" name: (_) @name) @class
(object_declaration name: (_) @name) @object
(companion_object name: (_) @name) @object
(function_declaration name: (_) @name (function_body)) @function
(secondary_constructor "constructor" @name) @method
(type_alias type: (_) @name) @type

(function_declaration name: (_) @name) @member

(call_expression . (identifier) @call)
(call_expression . (navigation_expression (_) @qualifier (identifier) @call .))

(import (qualified_identifier) @module .)
(import (qualified_identifier) @module (identifier) @alias .)
