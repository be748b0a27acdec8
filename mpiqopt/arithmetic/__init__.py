"""Numbers that come out the same on every processor, with every BLAS and libm.

Trajectories are promised to the bit. Whatever one depends on is computed by single operations of IEEE 754, which are
the same everywhere, in an order that is fixed here, or is rounded where libraries still agree.
"""
