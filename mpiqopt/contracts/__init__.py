"""What parts of each family promise, as checks of one part: for ``mpiqopt test`` and for the tests of the package."""
