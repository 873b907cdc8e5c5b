python benchmarks/meta_gpu.py OUT --seconds 490
