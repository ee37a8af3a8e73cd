(comment) @comment
(access_specifier) @comment
(template_declaration "template" @lead parameters: (_) @lead)

(function_definition declarator: (function_declarator declarator: (qualified_identifier) @name)) @method
(function_definition declarator: (pointer_declarator
  declarator: (function_declarator declarator: (qualified_identifier) @name))) @method
(function_definition declarator: (reference_declarator
  (function_declarator declarator: (qualified_identifier) @name))) @method
(function_definition declarator: (qualified_identifier name: (operator_cast)) @name) @method
(function_definition declarator: [
  (operator_cast) @name
  (pointer_declarator declarator: (pointer_declarator declarator: (pointer_declarator
    declarator: (function_declarator declarator: (identifier) @name))))
  (function_declarator declarator: (parenthesized_declarator (pointer_declarator
    declarator: (function_declarator declarator: (identifier) @name))))
  (function_declarator declarator: (_) @name)
  (pointer_declarator declarator: (function_declarator declarator: (_) @name))
  (pointer_declarator declarator: (pointer_declarator declarator: (function_declarator declarator: (_) @name)))
  (reference_declarator (function_declarator declarator: (_) @name))
]) @function
(class_specifier name: (_) @name body: (_)) @class
(struct_specifier name: (_) @name body: (_)) @struct
(union_specifier name: (_) @name body: (_)) @struct
(enum_specifier name: (_) @name body: (_)) @enum
(type_definition type: (struct_specifier !name) declarator: (type_identifier) @name) @struct
(namespace_definition name: (_) @name) @module
(alias_declaration name: (_) @name) @type
(concept_definition name: (_) @name) @type
(preproc_function_def name: (_) @name) @macro

(field_declaration declarator: [
  (function_declarator declarator: (_) @name)
  (pointer_declarator declarator: (function_declarator declarator: (_) @name))
  (reference_declarator (function_declarator declarator: (_) @name))
]) @member

(field_declaration_list (declaration declarator: (operator_cast) @name) @member)
(translation_unit (declaration declarator: [
  (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name)
  (pointer_declarator declarator: (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
  (reference_declarator (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
]) @member)
(declaration_list (declaration declarator: [
  (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name)
  (pointer_declarator declarator: (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
  (reference_declarator (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
]) @member)
(field_declaration_list (declaration declarator: [
  (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name)
  (pointer_declarator declarator: (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
  (reference_declarator (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
]) @member)
(preproc_if (declaration declarator: [
  (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name)
  (pointer_declarator declarator: (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
  (reference_declarator (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
]) @member)
(preproc_ifdef (declaration declarator: [
  (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name)
  (pointer_declarator declarator: (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
  (reference_declarator (function_declarator declarator: [(identifier) (destructor_name) (operator_name)] @name))
]) @member)

(call_expression function: (identifier) @call)
(call_expression function: (field_expression argument: (_) @qualifier field: (_) @call))
(call_expression function: (qualified_identifier scope: (_) @qualifier name: (identifier) @call))
(call_expression function: (qualified_identifier
  scope: (_) @qualifier
  name: (qualified_identifier name: (identifier) @call)))
(call_expression function: (template_function name: (identifier) @call))
(new_expression type: (type_identifier) @call)
(new_expression type: (template_type name: (_) @call))
(new_expression type: (qualified_identifier scope: (_) @qualifier name: (type_identifier) @call))
(new_expression type: (qualified_identifier scope: (_) @qualifier name: (template_type name: (_) @call)))

((preproc_include path: (_) @module) (#set! binds "none"))
(using_declaration (qualified_identifier) @module)
