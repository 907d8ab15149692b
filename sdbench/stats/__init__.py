"""Pure numbers: the only place that knows scipy."""

from sdbench.stats.interval import MIN_PROCESSES, log_t_interval

__all__ = ["MIN_PROCESSES", "log_t_interval"]
