(comment) @comment

(config_file (body (block . (identifier) @name . (string_lit)* @name) @section))

(function_call (identifier) @call)
