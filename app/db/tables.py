"""Every table of the schema, registered in one MetaData."""

from app.db import conversations, files, graph, identity, knowledge, limits, search_apps, stats, work
from app.db.metadata import metadata

AGGREGATES = (identity, limits, knowledge, files, graph, conversations, search_apps, stats, work)
"""The modules that define tables; importing this one has imported them."""

__all__ = ["AGGREGATES", "metadata"]
