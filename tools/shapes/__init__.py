"""How the model builtin/shapes is made and measured; not part of the installed package.

Run from the repository's root with PYTHONPATH=.:tools, see README.md in this folder.
"""
