"""The rules behind findings: one small function a code, each asked about one row of a run.

``ends``: processes that did not end well. ``pictures``: what came out wrong. ``machine``: swap,
heat, memory. ``speed``: times. Each returns a symptom, or None; :mod:`sdbench.diagnosis.findings`
puts symptoms together.
"""
