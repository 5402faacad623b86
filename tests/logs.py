"""How logs look in tests."""

import structlog


def plain_logs() -> None:
    """Log as structlog does by default, but tell failures as Python does: with all values one takes seconds."""
    structlog.reset_defaults()
    told = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], told])
