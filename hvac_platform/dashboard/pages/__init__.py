"""The pages, one module each: a layout, functions from rows to content, and the callbacks that join the two."""
