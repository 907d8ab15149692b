"""The report as one page of HTML that needs nothing else."""

from sdbench.report.html.page import html_report

__all__ = ["html_report"]
