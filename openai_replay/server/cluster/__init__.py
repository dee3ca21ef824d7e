"""Several processes that serve one cassette: the workers, and the positions they share.

Enter at `workers` and `supervisor`; `shared_memory` and `redis` hold the positions. Must not import the command line.
"""
