"""Summaries, plots and predictions of cost; nothing here needs MPI.

``estimate`` predicts what a run will do and cost (`mpiqopt check`), with ``memory`` and ``rounds``; ``summary`` and
``tables`` print result files (`show`), ``trend`` says how a run ended; ``plots`` draws trajectories, which ``labels``
names (`plot`), ``node_samples`` the division of data (`plot --data`), ``graphs`` topologies (`topology`) and
``compressors`` measurements (`compress-bench`), all by way of ``figures``.
"""
