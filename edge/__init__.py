"""The node's agent: it reads its points, judges them, keeps and sends what happened, obeys orders, and acts alone if it must."""
