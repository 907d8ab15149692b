"""The rules behind findings: one small function per code, each applied to one case of a run.

``outcomes``: processes that did not complete. ``pictures``: wrong images. ``machine``: swap,
heat, memory. ``speed``: times. Each returns a symptom, or None; :mod:`sdbench.diagnosis.findings`
puts symptoms together.
"""
