"""The pytest plugin: the `openai_replay` fixture, its options and its marker.

Enter at `plugin`, the entry point that pytest loads. The only package that imports pytest.
"""
