"""The stack on a local AWS. The demo, `make local`, the tests and the bench use it."""
