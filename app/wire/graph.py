"""Knowledge graphs as node-link JSON (knowledge.md 4.7)."""

from typing import Any

from app.domain.graph import Entity, Graph, Relation


def knowledge_graph(graph: Graph) -> dict[str, Any]:
    """Return what the graph routes tell; the graph is `{}` when there is none."""
    return {"graph": node_link(graph) if graph.entities else {}, "mind_map": {}}


def node_link(graph: Graph) -> dict[str, Any]:
    """Return the graph as lists of nodes and edges."""
    return {
        "directed": False,
        "multigraph": False,
        "graph": {"source_id": list(graph.document_ids)},
        "nodes": [_node(each) for each in graph.entities],
        "edges": [_edge(each) for each in graph.relations],
    }


def _node(entity: Entity) -> dict[str, Any]:
    return {
        "id": entity.name,
        "entity_name": entity.name,
        "entity_type": entity.type,
        "description": entity.description,
        "pagerank": entity.pagerank,
        "rank": entity.degree,
        "source_id": list(entity.document_ids),
    }


def _edge(relation: Relation) -> dict[str, Any]:
    return {
        "source": relation.source,
        "target": relation.target,
        "src_id": relation.source,
        "tgt_id": relation.target,
        "description": relation.description,
        "keywords": list(relation.keywords),
        "weight": relation.weight,
        "source_id": list(relation.document_ids),
    }
