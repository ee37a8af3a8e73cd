(comment) @comment

(function_definition name: (_) @name) @function

(command name: (command_name (word) @call))

((command name: (command_name (word) @_source) . argument: (_) @module)
  (#any-of? @_source "source" ".")
  (#set! binds "none"))
