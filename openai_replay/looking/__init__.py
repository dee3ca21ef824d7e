"""What is on a tape, for people and programs: the modules behind `list`, `show`, `stats` and `diff`."""
