velo-meta-train laptop --num-steps 220 --seed 2 --family-pool 40 --start-weights tests/velo/elementwise_weights/first.velo \
  --curriculum.growth-steps 1000000 --curriculum.first-step-seconds 4e-4 --curriculum.last-step-seconds 4e-4 \
  --outer OptaxChain --outer.chain "clip_by_global_norm(3.0)" \
  "adamw(warmup_cosine_decay_schedule(0.0, 0.025, 12, 220), b2=0.99)" --outer.average-decay 0.9 \
  --validation.every 20 --execution.executor local
