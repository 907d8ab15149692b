"""The child process: runs inside the interpreter being measured.

It needs only the standard library and the torch stack, runs on Python 3.10 and later with torch
1.13 and later, and imports nothing else of sdbench, because the interpreter being measured need
not have sdbench installed. It is started by path (see ``__main__``) and speaks JSON lines on a
pipe of its own.
"""
