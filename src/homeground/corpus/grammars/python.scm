(comment) @comment
(decorator) @lead

(function_definition name: (identifier) @name) @function
(class_definition name: (identifier) @name) @class

(call function: (identifier) @call)
(call function: (attribute object: (_) @qualifier attribute: (identifier) @call))
(decorator (identifier) @call)
(decorator (attribute object: (_) @qualifier attribute: (identifier) @call))

((import_statement name: (dotted_name) @module) (#set! binds "first"))
(import_statement name: (aliased_import name: (dotted_name) @module alias: (identifier) @alias))
(import_from_statement module_name: (_) @module name: (dotted_name) @import)
(import_from_statement
  module_name: (_) @module
  name: (aliased_import name: (dotted_name) @import alias: (identifier) @alias))
(import_from_statement module_name: (_) @module (wildcard_import) @import)
