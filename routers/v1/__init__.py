"""The OpenAI-compatible surface: everything under `/v1` (openai.md)."""
