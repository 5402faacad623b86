"""What the service is built of, from settings: the parts, and the models they ask."""

from app.building.parts import Parts, assemble, blob_url, built, running

__all__ = ["Parts", "assemble", "blob_url", "built", "running"]
