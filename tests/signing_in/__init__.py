"""Entries of every kind, deployed: how a server is signed in to, and what is said when it cannot be."""
