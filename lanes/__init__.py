"""What travels between our programs, and how it is kept: envelope, messages, keys, plan, settings, store, link, control.

The edge and the controller never import each other; what both must say and keep in the same way stands here.
"""
