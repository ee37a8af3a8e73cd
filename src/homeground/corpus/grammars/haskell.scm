(comment) @comment
(haddock) @comment
(declarations (signature) @lead)
(instance_declarations (signature) @lead)

(declarations (function name: (_) @name) @function)
(declarations (bind name: [(variable) (prefix_id)] @name) @function)
(instance_declarations (function name: (_) @name) @function)
(instance_declarations (bind name: [(variable) (prefix_id)] @name) @function)
(class_declarations (function name: (_) @name) @function)
(declarations (function [
  (infix operator: (_) @name)
  (function_head_parens (infix operator: (_) @name))
]) @function)
(instance_declarations (function (infix operator: (_) @name)) @function)
(class_declarations (function (infix operator: (_) @name)) @function)
(data_type [name: (_) @name (infix operator: (_) @name)]) @type
(newtype name: (_) @name) @type
(type_synonym [name: (_) @name (infix operator: (_) @name)]) @type
(class [name: (_) @name (infix operator: (_) @name)]) @interface
(instance name: (_) @name patterns: (_) @name) @impl

(class_declarations (signature name: (_) @name) @member)

(apply function: (variable) @call)
(apply function: (qualified module: (_) @qualifier id: (variable) @call))

(import module: (module) @module alias: (module) @alias)
((import module: (module) @module !alias !names) (#set! binds "none"))
(import module: (module) @module names: (import_list name: (import_name [variable: (_) type: (_)] @import)))
