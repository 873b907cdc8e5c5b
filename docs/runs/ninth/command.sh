PYTHONPATH=docs/runs/ninth velo-meta-train laptop --mixture hardened:mixture --num-steps 150 --seed 9 --family-pool 30 \
  --start-weights docs/runs/eighth/weights.velo --estimator.parts hypernetwork/log_step --estimator.standardize False \
  --episodes.objective WeightedCurve \
  --curriculum.growth-steps 1000000 --curriculum.first-step-seconds 5e-4 --curriculum.last-step-seconds 5e-4 \
  --outer OptaxChain --outer.chain "clip_by_global_norm(3.0)" \
  "adamw(warmup_cosine_decay_schedule(0.0, 0.03, 5, 150), b2=0.95)" --validation.every 0 --execution.executor local
