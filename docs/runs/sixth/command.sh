python benchmarks/meta_gpu.py OUT --seconds 545 --init docs/runs/fifth/weights.velo --max-steps 1000
