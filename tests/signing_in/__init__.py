"""Entries of every sign-in type, with the deployed functions: how the client signs in, and the errors if it cannot."""
