(comment) @comment

(value_definition (let_binding
  pattern: [(value_name) (parenthesized_operator)] @name . (abstract_type)* . (parameter))) @function
(value_definition (let_binding pattern: [(value_name) (parenthesized_operator)] @name body: [(function_expression) (fun_expression)])) @function
(type_definition . (type_binding name: (_) @name)) @type
(exception_definition (constructor_declaration (constructor_name) @name)) @type
(module_definition (module_binding (module_name) @name body: (structure))) @module
(module_definition (module_binding (module_name) @name module_type: (signature))) @module
(module_type_definition (module_type_name) @name) @interface
(class_definition . (class_binding (class_name) @name)) @class
(method_definition (method_name) @name) @method
(external [(value_name) (parenthesized_operator)] @name) @function

(value_specification [(value_name) (parenthesized_operator)] @name) @function

(application_expression function: (value_path . (value_name) @call))
(application_expression function: (value_path (module_path) @qualifier (value_name) @call))

((open_module module: (_) @module) (#set! binds "none"))
(module_binding (module_name) @alias body: [(module_path) (module_application)] @module)
