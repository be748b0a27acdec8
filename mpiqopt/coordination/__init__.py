"""How all nodes come to the same vector, close to the mean of theirs, by exchanging integers in finite time.

``coordinator`` turns real vectors into integers and back. ``protocols`` says what a coordinator does and needs, one
file each (base classes: ``protocol``). ``lockstep``, ``mailboxes`` and ``allreduce`` deliver messages; ``factory`` puts
all of it together for a network.
"""
