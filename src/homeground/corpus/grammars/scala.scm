(comment) @comment
(block_comment) @comment
(annotation) @lead

(class_definition name: (_) @name) @class
(object_definition name: (_) @name) @object
(trait_definition name: (_) @name) @trait
(enum_definition name: (_) @name) @enum
(function_definition name: (_) @name) @function
(type_definition name: (_) @name) @type

(function_declaration name: (_) @name) @member

(call_expression function: (identifier) @call)
(call_expression function: (field_expression value: (_) @qualifier field: (_) @call))
(instance_expression (type_identifier) @call)

(import_declaration . (identifier) @module . (identifier) @import .)
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @import .)
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @import .)
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module
  . (identifier) @import .)
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module
  . (identifier) @import .)
(import_declaration . (identifier) @module . (namespace_wildcard) @import .)
(import_declaration . (identifier) @module . (identifier) @module . (namespace_wildcard) @import .)
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_wildcard) @import .)
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_wildcard) @import .)
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_wildcard) @import .)
(import_declaration . (identifier) @module . (namespace_selectors (identifier) @import))
(import_declaration . (identifier) @module . (identifier) @module . (namespace_selectors (identifier) @import))
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_selectors (identifier) @import))
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_selectors (identifier) @import))
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_selectors (identifier) @import))
(import_declaration . (identifier) @module
  . (namespace_selectors (arrow_renamed_identifier name: (_) @import alias: (_) @alias)))
(import_declaration . (identifier) @module . (identifier) @module
  . (namespace_selectors (arrow_renamed_identifier name: (_) @import alias: (_) @alias)))
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_selectors (arrow_renamed_identifier name: (_) @import alias: (_) @alias)))
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_selectors (arrow_renamed_identifier name: (_) @import alias: (_) @alias)))
(import_declaration . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module . (identifier) @module
  . (namespace_selectors (arrow_renamed_identifier name: (_) @import alias: (_) @alias)))
