"""Every table of the schema, registered in one MetaData."""

from app.db import conversations, files, graph, identity, knowledge, stats, work
from app.db.metadata import metadata

AGGREGATES = (identity, knowledge, files, graph, conversations, stats, work)
"""The modules that define tables; importing this one has imported them."""

__all__ = ["AGGREGATES", "metadata"]
