"""The report as one page of HTML that needs nothing else."""

from sdbench.report.html.environment import page_environment
from sdbench.report.html.page import html_report, page_script, page_style

__all__ = ["html_report", "page_environment", "page_script", "page_style"]
