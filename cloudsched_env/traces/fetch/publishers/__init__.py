"""What each publisher offers, in one module each; `cloudsched_env.traces.fetch.datasets` lists them all."""
