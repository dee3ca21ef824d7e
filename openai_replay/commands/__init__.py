"""The commands of `openai-replay`, a module for those that belong together. `cli` loads one when it is asked for."""
