"""Learning values of joint actions (QMIX, VDN): replayed fragments, targets, loss, learner.

`utilities`, `targets`, `replay` and `loss` are plain torch; `modules`, `learner` and `algorithm` stand on RLlib.
"""
