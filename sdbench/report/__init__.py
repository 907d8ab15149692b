"""One renderer per file; renderers are given finished data and do not compute."""
