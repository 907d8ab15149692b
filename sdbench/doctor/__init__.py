"""Checks whether this machine is set up correctly: gathers facts, then pure checks judge them."""

from sdbench.doctor.checks import BEFORE_TORCH, WITH_TORCH, judge
from sdbench.doctor.examine import Examination, Request
from sdbench.doctor.facts import Check, DoctorFacts, worst

__all__ = [
    "BEFORE_TORCH",
    "WITH_TORCH",
    "Check",
    "DoctorFacts",
    "Examination",
    "Request",
    "judge",
    "worst",
]
