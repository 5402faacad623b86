"""Queries of chunk lists are read loosely by the route; bodies come with the routes that change chunks."""
