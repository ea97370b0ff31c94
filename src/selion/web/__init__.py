"""Pages on loopback: a server, a guard before it, and one module per page.

Needs the extra ``web``; importing this package does not.
"""
