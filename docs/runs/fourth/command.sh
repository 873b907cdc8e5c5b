velo-meta-train laptop --num-steps 342
