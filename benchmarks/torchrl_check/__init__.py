"""TorchRL's MAPPO and QMIX beside ours on the same environment."""
