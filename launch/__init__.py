"""Ways to start the job: on this machine, on Kubernetes."""
