"""The dynamics of one cluster: state as struct of arrays, one file a mechanism (see ``docs/simulator.md``).

Every compiled function here works on cluster ``b`` of a batch: arrays have the batch axis first.
"""
