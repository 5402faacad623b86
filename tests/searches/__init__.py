"""Search apps, search bots and questions to datasets (conversations.md 7)."""
