velo-meta-train laptop --num-steps 80 --seed 7 --family-pool 24 --start-weights docs/runs/seventh/start.velo \
  --estimator.parts hypernetwork/log_step --episodes.objective FinalLoss \
  --curriculum.growth-steps 1000000 --curriculum.first-step-seconds 4e-4 --curriculum.last-step-seconds 4e-4 \
  --outer OptaxChain --outer.chain "clip_by_global_norm(3.0)" \
  "adamw(warmup_cosine_decay_schedule(0.0, 0.03, 5, 80), b2=0.95)" --validation.every 0 --execution.executor local
