"""The roof of the service: `serve` starts all it needs, answers, and stops what it started."""

from app.serving.serve import serve

__all__ = ["serve"]
