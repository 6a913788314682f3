"""The stack on a local AWS: what the demo, `make local`, the tests and the bench stand on."""
