PYTHONPATH=docs/runs/ninth:docs/runs/tenth velo-meta-train laptop --mixture delayed:mixture --num-steps 110 --seed 11 --family-pool 30 \
  --start-weights docs/runs/eleventh/start.velo --estimator.parts hypernetwork/log_step --estimator.standardize False --estimator.num-pairs 4 \
  --episodes.objective WeightedCurve --episodes.max-steps 10000 --num-workers 10 \
  --curriculum.growth-steps 1000000 --curriculum.first-step-seconds 5e-4 --curriculum.last-step-seconds 5e-4 \
  --outer OptaxChain --outer.chain "clip_by_global_norm(3.0)" \
  "adamw(warmup_cosine_decay_schedule(0.0, 0.025, 5, 110), b2=0.95)" --validation.every 0 --execution.executor local
