"""The roof of the service: `serve.serve` starts all it needs, answers, and stops what it started."""
