velo-meta-train laptop --num-steps 210 --seed 5 --mixture varied --family-pool 39 --num-workers 12 \
  --start-weights tests/velo/elementwise_weights/first.velo --estimator.num-pairs 8 \
  --estimator.parts bank hypernetwork/controls hypernetwork/log_step \
  --curriculum.growth-steps 1000000 --curriculum.first-step-seconds 4e-4 --curriculum.last-step-seconds 4e-4 \
  --episodes.min-steps 150 --episodes.max-steps 1200 \
  --outer OptaxChain --outer.chain "clip_by_global_norm(3.0)" \
  "adamw(warmup_cosine_decay_schedule(0.0, 0.03, 10, 210), b2=0.99)" --outer.average-decay 0.9 \
  --validation.every 30 --validation.steps-scale 0.5
