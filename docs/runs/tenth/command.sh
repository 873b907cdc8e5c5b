PYTHONPATH=docs/runs/ninth:docs/runs/tenth velo-meta-train laptop --mixture delayed:mixture --num-steps 110 --seed 10 --family-pool 30 \
  --start-weights docs/runs/ninth/weights.velo --estimator.parts hypernetwork/log_step --estimator.standardize False \
  --episodes.objective WeightedCurve --episodes.max-steps 2500 --num-workers 10 \
  --curriculum.growth-steps 1000000 --curriculum.first-step-seconds 5e-4 --curriculum.last-step-seconds 5e-4 \
  --outer OptaxChain --outer.chain "clip_by_global_norm(3.0)" \
  "adamw(warmup_cosine_decay_schedule(0.0, 0.03, 5, 110), b2=0.95)" --validation.every 0 --execution.executor local
