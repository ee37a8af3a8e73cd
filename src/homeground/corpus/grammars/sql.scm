(comment) @comment
(marginalia) @comment

(create_table (object_reference) @name) @table
(create_view (object_reference) @name) @view
(create_materialized_view (object_reference) @name) @view
(create_function (object_reference) @name) @function
(create_trigger (object_reference) @name) @function
(create_type (object_reference) @name) @type

(invocation (object_reference) @call)
