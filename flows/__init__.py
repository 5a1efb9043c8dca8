"""When we do it: one verb a file, each a table of contents."""
