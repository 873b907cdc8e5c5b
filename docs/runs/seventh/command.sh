python benchmarks/meta_gpu.py OUT --seconds 430 --init docs/runs/seventh/start.velo --max-steps 1000
