(comment) @comment

(method name: (_) @name) @function
(singleton_method name: (_) @name) @method
(class name: (_) @name) @class
(module name: (_) @name) @module

(call !receiver method: (identifier) @call)
(call receiver: (_) @qualifier method: (identifier) @call)

((call
  !receiver
  method: (identifier) @_require
  arguments: (argument_list . (string) @module))
  (#any-of? @_require "require" "require_relative" "load")
  (#set! binds "none"))
