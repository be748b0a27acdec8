"""From a TOML text to frozen dataclasses, or one line that says what is wrong."""
